"""Changes of many letters at once: they run in the background, and say how far they are."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from routemq.dead_letters import DeadLetters
from routemq.dead_letters.audit import Operation
from routemq.dead_letters.filters import LetterFilter
from routemq.dead_letters.frozen import FrozenReplay
from routemq.dead_letters.replaying import ReplayOptions, ReplayResult
from routemq_tasks.flower.threads import DaemonThreads

logger = logging.getLogger(__name__)

Action = Literal["replay", "discard"]

_STEP = 500
_REMEMBERED = 100
_REFUSALS_SHOWN = 5


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a change is.

    Attributes:
        frozen_id: Name of the frozen set of a replay, by which any process can continue it.
        total: Letters that it is about; None until they are frozen or counted.
        done: Letters that were replayed or discarded.
        gone: Letters that someone else replayed or discarded first.
        refused: Letters that stay where they are; `refusals` says why, for the first few.
        needs_force: How many of these would have been replayed for someone who insists.
        state: `failed` leaves the rest where it was; a replay can be continued.
    """

    id: str
    action: Action
    frozen_id: str | None = None
    total: int | None = None
    done: int = 0
    gone: int = 0
    refused: int = 0
    needs_force: int = 0
    refusals: list[str] = field(default_factory=list)
    state: Literal["running", "done", "failed"] = "running"
    error: str | None = None

    def add(self, result: ReplayResult) -> None:
        """Count one step of a replay."""
        self.done += len(result.replayed)
        self.gone += len(result.gone)
        self.refused += len(result.refused)
        self.needs_force += sum(exc.mend is not None for exc in result.refused.values())
        room = _REFUSALS_SHOWN - len(self.refusals)
        self.refusals += [exc.problem for exc in islice(result.refused.values(), max(0, room))]

    def as_json(self) -> dict[str, Any]:
        """Return the answer of the API."""
        return {name: getattr(self, name) for name in self.__slots__}


class Operations:
    """Runs the changes, one after the other, so that two never compete for Redis; remembers the latest."""

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters
        self._known: OrderedDict[str, Progress] = OrderedDict()
        self._lock = threading.Lock()
        self._executor = DaemonThreads(1, name="routemq-changes")

    def get(self, operation_id: str) -> Progress | None:
        """Return the progress of a change that this Flower began or continued."""
        return self._known.get(operation_id)

    def start(
        self, action: Action, wanted: LetterFilter | list[str], *, actor: str, options: ReplayOptions
    ) -> Progress:
        """Begin a change and return at once.

        Args:
            wanted: A filter with an end (`until`), so that what dies from now on is not caught; or ids.
        """
        shown = str(wanted) if isinstance(wanted, LetterFilter) else f"{len(wanted)} chosen by hand"
        operation = Operation(actor=actor, detail=shown)
        progress = self._remember(Progress(id=operation.id, action=action))
        if action == "replay":
            self._run(
                progress, lambda: self._replay(progress, self._letters.freeze(wanted, actor=actor, options=options))
            )
        else:
            self._run(progress, lambda: self._discard(progress, wanted, operation))
        return progress

    def resume(self, replay: FrozenReplay) -> Progress:
        """Continue a replay that was broken off."""
        running = self.get(replay.id)
        if running is not None and running.state == "running":
            return running
        progress = self._remember(Progress(id=replay.id, action="replay"))
        self._run(progress, lambda: self._replay(progress, replay))
        return progress

    def running(self) -> list[Progress]:
        """Return what this Flower is at."""
        return [progress for progress in list(self._known.values()) if progress.state == "running"]

    def _remember(self, progress: Progress) -> Progress:
        with self._lock:
            self._known[progress.id] = progress
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return progress

    def _run(self, progress: Progress, work: Any) -> None:
        def guarded() -> None:
            try:
                work()
                progress.state = "done"
            # Whatever stopped it, the page that waits for it must hear of it.
            except Exception as exc:
                logger.exception("dead letters: %s stopped", progress.action, extra={"operation": progress.id})
                progress.error, progress.state = f"{type(exc).__name__}: {exc}", "failed"

        self._executor.submit(guarded)

    def _replay(self, progress: Progress, replay: FrozenReplay) -> None:
        progress.frozen_id, progress.total = replay.id, replay.total
        progress.done, progress.gone, progress.refused = replay.replayed, replay.gone, replay.refused
        while (result := self._letters.replay_step(replay, limit=_STEP)) is not None:
            progress.add(result)

    def _discard(self, progress: Progress, wanted: LetterFilter | list[str], operation: Operation) -> None:
        if isinstance(wanted, LetterFilter):
            progress.total = self._letters.count(wanted)
            ids: Iterable[str] = (letter.id for letter in self._letters.letters(wanted))
        else:
            progress.total, ids = len(wanted), wanted
        rest = iter(ids)
        while some := list(islice(rest, _STEP)):
            done = self._letters.discard(some, actor=operation.actor, operation=operation)
            progress.done += len(done)
            progress.gone += len(some) - len(done)
