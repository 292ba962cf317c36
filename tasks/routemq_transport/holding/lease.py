"""What a worker holds: acknowledged in batches, renewed in time, given back when it will not be run here.

Long, for what its two threads do to one lease is read together.
"""

import contextlib
import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.util import Finalize
from typing import Any

import redis

from routemq.lifecycle.moves import LeaseTimes, Moves, PutBack, StartCommand
from routemq.logs import say
from routemq.queues import Keys
from routemq.refusals import explain
from routemq_transport.holding.acknowledgements import Acknowledgements
from routemq_transport.holding.clock import SteadyClock
from routemq_transport.holding.rescue import Rescue
from routemq_transport.holding.returns import Returns
from routemq_transport.holding.starts import Starts
from routemq_transport.items import Item

logger = logging.getLogger(__name__)

_TURN_S = 0.1
"""How often the thread looks around; what it does is seldom more than a look."""

_ACK_BACKSTOP_S = 0.05
_ORPHANS_S = 2.0
_MARK_RUNNING_S = 1.0
_AWAY_PAUSE_S = 1.0
_OVERDUE = 4
"""A renewal that is so many times later than it should be is one to speak of."""


class Lease:
    """The delivery tags of one channel and its own connection to Redis.

    The worker's main loop acknowledges and flushes; a thread renews, so that a task that keeps the main loop busy (in
    the solo pool every task does) keeps its lease. After its connection was lost, a channel lets go of its lease, which
    lives on until every message that a task still runs is acknowledged, and gives back those that nobody runs. The head
    of this package says which thread may touch what.

    Args:
        client: Of a pool of its own: it is used from this thread and from the main loop.
        running: Returns the delivery tags of messages that are running.
        restore_other: Routes a message that a worker of Celery's own transport lost; by its tag.
        clock: Of Redis; by default one that begins now.
    """

    def __init__(
        self,
        client: "redis.Redis",
        moves: Moves,
        keys: Keys,
        times: LeaseTimes,
        *,
        running: Callable[[], Iterable[str]],
        restore_other: Callable[[str], None],
        clock: SteadyClock | None = None,
    ) -> None:
        self._client, self._moves, self._times, self._running = client, moves, times, running
        self._held: dict[str, int] = {}
        self._done = Acknowledgements()
        self._returns = Returns()
        self._suspects: set[str] = set()
        self._starts = Starts(client.connection_pool, StartCommand(keys), self._held)
        self._orphans: dict[str, weakref.ref[Any]] | None = None
        self._ending = False
        self._ended = threading.Event()
        self._away = False
        self._thread: threading.Thread | None = None
        # What ran out is noticed within a tenth of its length.
        self._every_s = min(10.0, max(0.2, times.own_s / 10))
        self._renewed_at = time.monotonic()
        clock = clock or SteadyClock(lease_s=times.own_s, renewed_every_s=self._every_s)
        self._rescue = Rescue(client, moves, times, restore_other=restore_other, clock=clock)
        # After kombu's, which knows what was looked at.
        self._at_exit = Finalize(self, self._give_everything_back, exitpriority=0)

    @property
    def held_bytes(self) -> int:
        """The size of all that is held."""
        return sum(list(self._held.values()))

    @property
    def acks_due_in_s(self) -> float | None:
        """Seconds until waiting acknowledgements should go out; None when there are none."""
        return self._done.due_in_s

    def hold(self, items: Iterable[Item], *, marked: int = 0) -> None:
        """These messages are in this worker's hands from now on.

        Args:
            marked: So many of them, from the first on, their fetch has marked as started, but for those that came back.
        """
        fresh = []
        for position, item in enumerate(items):
            self._held[item.tag] = len(item.raw)
            if item.came_back:
                self._suspects.add(item.tag)
            elif position < marked:
                fresh.append(item.tag)
        if fresh:
            self._starts.marked_by_fetch(fresh)
        self.start()

    def will_start_soon(self, count: int, *, hands_are_empty: bool) -> int:
        """Return how many of so many more messages will start soon; their fetch should mark these."""
        return self._starts.near(count, hands_are_empty=hands_are_empty)

    @property
    def in_turn(self) -> int:
        """How many messages of a queue to take before the next one has its turn."""
        return self._starts.in_turn

    def starts_within(self, time_s: float) -> int:
        """Return how many messages start in so much time, at the pace of late."""
        return self._starts.within(time_s)

    def start(self) -> None:
        """Look after leases: those of this worker, and those that others have lost."""
        if self._thread is None:
            self._connect_starts()
            thread = threading.Thread(target=self._run, name="routemq-lease", daemon=True)
            try:
                thread.start()
            except RuntimeError as exc:
                # Whoever connects again has another lease; without this thread nothing would be renewed.
                raise redis.ConnectionError(f"what is held cannot be renewed: {exc}") from exc
            self._thread = thread

    def done(self, *tags: str, route: str | None = None) -> None:
        """Messages are acknowledged; Redis hears of them with the next batch, which is not cut between them.

        Args:
            route: Count them as done for this route, if they are still held when Redis hears of it.
        """
        for tag in tags:
            self._held.pop(tag, None)
        self._suspects.difference_update(tags)
        if self._done.add(tags, route):
            self.flush()

    def flush(self) -> None:
        """Send the waiting acknowledgements; while Redis is away they wait on."""
        done = self._done.take()
        if not done:
            return
        try:
            self._moves.acknowledge(done)
        # Also when this worker is told to end meanwhile: to say it twice is no harm.
        except BaseException as exc:
            self._done.keep(done, pause_s=_AWAY_PAUSE_S)
            if not isinstance(exc, redis.RedisError):
                raise
            self._log_away(exc)
        else:
            self._starts.forget(*done.values())
            self._away = False

    def put_back(self, tags: Iterable[str], how: PutBack, *, at_once: bool = True) -> None:
        """Give messages back, now if Redis is there, else as soon as it is; what Redis holds no more stays gone.

        Args:
            at_once: Else with others, a moment later.
        """
        if not (chosen := list(tags)):
            return
        for tag in chosen:
            self._held.pop(tag, None)
        self._returns.add(chosen, how)
        self._starts.forget(chosen)
        self._suspects.difference_update(chosen)
        if at_once:
            self._put_back_waiting()

    def waiting(self, tag: str) -> None:
        """The task of a message was about to start, and waits again."""
        self._starts.defer(tag)

    def starting(self, *tags: str) -> None:
        """Messages start in one run: the loss of this worker is a strike for each from now on."""
        suspects = [tag for tag in tags if tag in self._suspects] if self._suspects else None
        self._starts.mark(*tags if not suspects else [tag for tag in tags if tag not in suspects])
        if not suspects:
            return
        # They may have ended the worker that had them: Redis knows before they do it again; what is done has no blame.
        self._suspects.difference_update(suspects)
        self.flush()
        try:
            self.mark_running(suspects)
        except redis.RedisError as exc:
            self._log_away(exc)

    def mark_running(self, tags: Iterable[str]) -> None:
        """Be sure that Redis knows what runs."""
        if new := self._starts.unmarked(tags):
            self._moves.renew(new, running=True)
            self._starts.marked_by_hand(new)

    def let_go(self, messages: Mapping[str, Any]) -> None:
        """The channel is gone while tasks run on: keep the lease of what they run.

        Args:
            messages: Held messages that a task may have, by delivery tag; what nobody refers to any more is given back.
        """
        self._orphans = {tag: weakref.ref(message) for tag, message in messages.items()}
        self.put_back([tag for tag in list(self._held) if tag not in self._orphans], "unread")
        if not self._held:
            self.end()

    def end(self) -> None:
        """Send what waits and stop; with Redis away, as soon as it is back."""
        self.flush()
        self._put_back_waiting()
        self._ending = True
        if not self._is_waiting:
            self._at_exit.cancel()
            self._starts.close()
            self._ended.set()

    @property
    def _is_waiting(self) -> bool:
        return bool(self._done or self._returns)

    def _give_everything_back(self) -> None:
        with contextlib.suppress(redis.RedisError):
            running = set(self._running())
            self.flush()
            held = list(self._held)
            self.put_back([tag for tag in held if tag not in running], "unread")
            self.put_back([tag for tag in held if tag in running], "returned")
            self._put_back_waiting()
        self._ended.set()

    @property
    def overdue_s(self) -> float | None:
        """Seconds since the last renewal, when one is overdue; safe from other threads."""
        silent_s = time.monotonic() - self._renewed_at
        return silent_s if self._held and silent_s > _OVERDUE * self._every_s else None

    def _run(self) -> None:
        self._renewed_at = renewed = marked = looked = time.monotonic()
        pause_s = _TURN_S
        while not self._ended.wait(pause_s):
            pause_s = _TURN_S
            now = time.monotonic()
            try:
                self._starts.take_back()
                if self._returns:
                    self._put_back_waiting()
                if self._done and self._done.age_s > _ACK_BACKSTOP_S:
                    self.flush()
                if now - renewed >= self._every_s:
                    # Whoever looks at the leases of others has seen to its own.
                    if self._held:
                        self._renew()
                    self._renewed_at = renewed = now
                    self._rescue.look()
                    self._away = False
                if now - marked >= _MARK_RUNNING_S:
                    marked = now
                    self._connect_starts()
                    self.mark_running(self._running())
                if self._orphans is not None and now - looked >= _ORPHANS_S:
                    looked = now
                    self._look_after_orphans()
                if self._ending and not self._is_waiting:
                    self.end()
            except redis.RedisError as exc:
                pause_s = _AWAY_PAUSE_S
                self._log_away(exc)
            # This thread must outlive whatever goes wrong: without it every message in hand is run twice.
            except Exception:  # noqa: BLE001
                say(logger, logging.ERROR, "lease could not be looked after, trying again", exc_info=True)
        self._starts.close()
        # The main loop may be using one of them at this moment.
        self._client.connection_pool.disconnect(inuse_connections=False)

    def _connect_starts(self) -> None:
        # Without it, what runs is marked once a second.
        with contextlib.suppress(redis.RedisError, OSError):
            self._starts.connect()

    def _renew(self) -> None:
        lost = self._moves.renew(list(self._held), running=False)
        self._away = False
        # What was acknowledged meanwhile is gone rightly.
        lost = [tag for tag in lost if self._held.pop(tag, None) is not None]
        if lost:
            say(logger, logging.WARNING,
                "lease of %d messages was lost, they are run elsewhere too; this worker was stopped or without Redis "
                "for more than %g s", len(lost), self._times.own_s,
            )  # fmt: skip

    def _look_after_orphans(self) -> None:
        orphans = self._orphans or {}
        if any(orphans[tag]() is not None for tag in list(self._held) if tag in orphans):
            # A message that its request has dropped may be part of a cycle.
            gc.collect()
        self.put_back([tag for tag in list(self._held) if tag not in orphans or orphans[tag]() is None], "unread")
        if not self._held:
            self.end()

    def _put_back_waiting(self) -> None:
        try:
            self._returns.send(self._moves)
        except redis.RedisError as exc:
            self._log_away(exc)

    def _log_away(self, exc: redis.RedisError) -> None:
        if not self._away:
            self._away = True
            if self._held:
                say(logger, logging.WARNING, "%d messages are kept meanwhile: %s", len(self._held), explain(exc))
            else:
                say(logger, logging.WARNING, "what died workers left is not looked for meanwhile: %s", explain(exc))
