"""Changes of many letters at once: they run in the background, and say how far they are."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import redis

from routemq.dead_letters import DeadLetter, DeadLetters, Discard
from routemq.dead_letters.audit import Operation
from routemq.dead_letters.canary import Canary
from routemq.dead_letters.frozen import FrozenReplay
from routemq.dead_letters.letter_filter import LetterFilter
from routemq.dead_letters.replaying import ReplayOptions, ReplayPace
from routemq.dead_letters.strange_routes import StrangeRoutes, one_of_each_route
from routemq.errors import RouteMQError
from routemq.refusals import explain
from routemq.text import error_line, plural
from routemq_flower.change_progress import Action, ChangeProgress, ChangeStoppedError
from routemq_flower.threads import DaemonThreads

logger = logging.getLogger(__name__)

_STEP = 500
_REMEMBERED = 100
_UNHURRIED_AT_ONCE = 8
_CANARY_POLL_S = 0.5
_LONGEST_WAIT_S = 2.0


class CanariesDiedError(RouteMQError):
    """The first messages of a replay did not do well; the others stay where they are."""

    def __init__(self, *, why: str) -> None:
        self.why = why
        super().__init__(why)


class Operations:
    """Runs the changes, one after the other, so that two never compete for Redis; remembers the latest."""

    def __init__(self, letters: DeadLetters, strange: StrangeRoutes) -> None:
        self._letters, self._strange = letters, strange
        self._known: OrderedDict[str, ChangeProgress] = OrderedDict()
        self._lock = threading.Lock()
        self._executor = DaemonThreads(1, name="routemq-changes")
        # What waits for its canaries, or takes its time, keeps no other change waiting.
        self._unhurried = DaemonThreads(_UNHURRIED_AT_ONCE, name="routemq-unhurried")

    def get(self, operation_id: str) -> ChangeProgress | None:
        """Return the progress of a change that this Flower began or continued."""
        return self._known.get(operation_id)

    def of_replay(self, replay_id: str) -> ChangeProgress | None:
        """Return the latest progress of a replay that this Flower began or continued."""
        return next((found for found in reversed(list(self._known.values())) if found.frozen_id == replay_id), None)

    def start(
        self,
        action: Action,
        wanted: LetterFilter | list[str],
        *,
        actor: str,
        options: ReplayOptions,
        pace: ReplayPace | None = None,
    ) -> ChangeProgress:
        """Begin a change and return at once.

        Args:
            wanted: A filter with an end (`until`), so that what dies from now on is not caught; or ids.
        """
        shown = str(wanted) if isinstance(wanted, LetterFilter) else f"{len(wanted)} chosen by hand"
        operation = Operation(actor=actor, detail=shown)
        progress = self._remember(ChangeProgress(id=operation.id, action=action))
        if action == "replay":
            pace = pace or ReplayPace()
            self._run(
                progress, lambda: self._freeze(progress, wanted, operation, options, pace),
                is_unhurried=pace.is_unhurried,
            )  # fmt: skip
        else:
            self._run(progress, lambda: self._discard(progress, wanted, operation))
        return progress

    def undo(self, discard: Discard, *, actor: str) -> ChangeProgress:
        """Begin to bring back what is in the bin, and return at once."""
        of = discard.operation
        operation = Operation(actor=actor, detail=f"discard {of.id} ({of.detail})")
        progress = self._remember(ChangeProgress(id=operation.id, action="undo", total=discard.letters))

        def bring_back() -> None:
            for count in self._letters.undo(of.id, actor=actor, operation=operation):
                progress.done += count
                progress.go_on()

        self._run(progress, bring_back)
        return progress

    def resume(self, replay: FrozenReplay, *, trusts_absence: bool = False) -> ChangeProgress:
        """Continue a replay that was broken off.

        Args:
            trusts_absence: See `ReplayPace`.
        """
        running = self.of_replay(replay.id)
        if running is not None and running.state == "running":
            return running
        progress = self._remember(ChangeProgress(id=replay.id, action="replay", frozen_id=replay.id))
        # Another process may be waiting for the canaries, or was killed as it did.
        pace = replace(replay.pace, trusts_absence=trusts_absence)
        self._run(progress, lambda: self._replay(progress, replay, pace), is_unhurried=pace.is_unhurried)
        return progress

    def running(self) -> list[ChangeProgress]:
        """Return what this Flower is at."""
        return [progress for progress in list(self._known.values()) if progress.state == "running"]

    def _remember(self, progress: ChangeProgress) -> ChangeProgress:
        with self._lock:
            self._known[progress.id] = progress
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return progress

    def _run(self, progress: ChangeProgress, work: Any, *, is_unhurried: bool = False) -> None:
        def guarded() -> None:
            try:
                work()
                progress.state = "done"
            except ChangeStoppedError:
                progress.state = "stopped"
            except CanariesDiedError as exc:
                progress.error, progress.state = str(exc), "stopped"
            # Whatever stopped it, the page that waits for it must hear of it.
            except Exception as exc:
                is_foreseen = isinstance(exc, redis.RedisError | RouteMQError)
                told = explain(exc) if isinstance(exc, redis.RedisError) else error_line(exc)
                # What a server refuses is no defect, and a traceback would say nothing of it.
                logger.error(
                    "dead letters: %s stopped: %s", progress.action, told,
                    exc_info=not is_foreseen, extra={"operation": progress.id},
                )  # fmt: skip
                progress.error, progress.state = told, "failed"

        (self._unhurried if is_unhurried else self._executor).submit(guarded)

    def _freeze(
        self,
        progress: ChangeProgress,
        wanted: LetterFilter | list[str],
        operation: Operation,
        options: ReplayOptions,
        pace: ReplayPace,
    ) -> None:
        chosen: LetterFilter | Iterable[str] = wanted
        examples: dict[str, DeadLetter] = {}
        if not isinstance(wanted, LetterFilter):
            examples = {letter.route: letter for letter in self._letters.some(wanted)}
        elif wanted.is_indexed:
            examples = {letter.route: letter for letter in one_of_each_route(self._letters, wanted)}
        else:
            chosen = self._looked_through(progress, wanted, examples)
        progress.go_on()
        detail = operation.detail
        frozen = self._letters.freeze(chosen, actor=operation.actor, options=options, pace=pace, detail=detail)
        progress.warning = self._strange.warning(examples.values(), to_queue=options.to_queue)
        self._replay(progress, frozen, pace)

    def _replay(self, progress: ChangeProgress, replay: FrozenReplay, pace: ReplayPace) -> None:
        progress.frozen_id, progress.total = replay.id, replay.total
        progress.done, progress.gone, progress.refused = replay.replayed, replay.gone, replay.refused
        progress.go_on()
        if pace.canary and (sent := self._letters.replay_canaries(replay, limit=pace.canary)) is not None:
            progress.add(sent[0])
            try:
                why = self._canary_problem(progress, sent[1], pace)
            except ChangeStoppedError:
                # Who stops it, and lets it go on, decides by what is there to be seen.
                self._letters.canaries_judged(replay)
                raise
            self._letters.canaries_judged(replay)
            if why is not None:
                raise CanariesDiedError(why=why)
        while (result := self._letters.replay_step(replay, limit=pace.step(_STEP), pace=pace)) is not None:
            progress.add(result)
            progress.go_on()
            # Somebody else may end it meanwhile.
            self._sleep(progress, min(result.wait_s, _LONGEST_WAIT_S))

    def _canary_problem(self, progress: ChangeProgress, canary: Canary, pace: ReplayPace) -> str | None:
        report, deadline = canary.look(), time.monotonic() + pace.canary_wait_s
        while report.is_undecided and time.monotonic() < deadline:
            progress.note = (
                f"waiting for {report.waiting} of {plural(report.count, 'canary', 'canaries')}, {report.done} done"
            )
            self._sleep(progress, _CANARY_POLL_S)
            report = canary.look()
        progress.note = None
        return report.problem(canary.queues, trusts_absence=pace.trusts_absence) if report.count else None

    def _sleep(self, progress: ChangeProgress, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _CANARY_POLL_S))
            progress.go_on()

    def _discard(self, progress: ChangeProgress, wanted: LetterFilter | list[str], operation: Operation) -> None:
        if isinstance(wanted, LetterFilter):
            # A search would take as long as the change itself.
            progress.total = self._letters.count(wanted) if wanted.is_indexed else None
            ids: Iterable[str] = self._looked_through(progress, wanted)
        else:
            progress.total, ids = len(wanted), wanted
        rest = iter(ids)
        while some := list(islice(rest, _STEP)):
            done = self._letters.discard(some, actor=operation.actor, operation=operation)
            progress.done += len(done)
            damaged = self._letters.damaged(set(some) - set(done))
            progress.refuse([f"its description cannot be read ({problem})" for problem in damaged.values()])
            progress.gone += len(some) - len(done) - len(damaged)
            binned = self._letters.bin.find(operation.id)
            progress.binned = 0 if binned is None else binned.letters
            progress.go_on()

    def _looked_through(
        self, progress: ChangeProgress, wanted: LetterFilter, examples: dict[str, DeadLetter] | None = None
    ) -> Iterator[str]:
        for _, letter in self._letters.walk(wanted, oldest_first=True):
            progress.looked_at += 1
            if not progress.looked_at % _STEP:
                progress.go_on()
            if letter is not None:
                if examples is not None:
                    examples.setdefault(letter.route, letter)
                yield letter.id
