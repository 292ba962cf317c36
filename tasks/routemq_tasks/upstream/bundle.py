"""What a child of the prefork pool has in hand, as the pool sees it: its page, and a job of Celery's for each slot."""

# ruff: noqa: SLF001  what a pool knows of its jobs has no public names in billiard

import logging
import time
from collections.abc import Callable
from typing import Any

from celery.worker import state
from celery.worker.request import Request
from routemq_transport.starting_request import StartingRequest, say_starts

from routemq.logs import say
from routemq_tasks.batch_request import BatchRequest, give_back
from routemq_tasks.bundle_page import BEGUN, DONE, TOLD, BundlePage
from routemq_tasks.reports import Report, unknown
from routemq_tasks.request import acknowledge_all
from routemq_tasks.upstream.job import Job
from routemq_tasks.upstream.pipes import Outcome
from routemq_tasks.upstream.tracer import DONE as DONE_SHOWN

logger = logging.getLogger(__name__)

_LOCK_PATIENCE_S = 1.0


class Bundle:
    """Jobs that were handed to a child at once. Of the event loop's thread alone.

    Of each job that has begun its request is told by Celery's `_ack`, and of each that has ended by `_set`, in the
    order of the runs: as if the child had said so.

    Args:
        jobs: By their slots.
        put_back: Called with a job that the child will not run.
        on_end: Called when jobs have ended, with the names of their tasks and how long each took.

    Attributes:
        at: When it was handed out, on the monotonic clock.
        is_harmless: The child is ended for a reason that no job of it has given.
    """

    def __init__(
        self,
        child: Any,
        jobs: list[Any],
        *,
        put_back: Callable[[Any], None],
        on_end: Callable[["Bundle", list[tuple[str, float]]], None],
    ) -> None:
        self.child, self.at, self.is_harmless = child, time.monotonic(), False
        self._jobs: list[Any] = list(jobs)
        self._beginning: int | None = None
        self._put_back, self._on_end = put_back, on_end

    @property
    def page(self) -> BundlePage:
        page: BundlePage = self.child.page
        return page

    @property
    def left(self) -> list[int]:
        """The slots whose end is not known."""
        return [slot for slot, job in enumerate(self._jobs) if job is not None]

    @property
    def is_watched(self) -> bool:
        """Whether the page can tell more than the pipe will."""
        left = self.left
        return len(left) > 1 or (len(left) == 1 and not self._jobs[left[0]]._accepted)

    def look(self) -> None:
        """See how far the child is."""
        states, done, begun = self.page.states(), [], None
        for slot in self.left:
            if slot == self._beginning:
                # Whoever is told of its start asks for this look: of its end he hears when that is over.
                break
            if states[slot] == DONE:
                done.append(slot)
                continue
            if states[slot] == BEGUN:
                begun = slot
            # Of what was told in the pipe the pool hears soon, and then of those after it.
            break
        if done:
            self._end_all(done)
        if begun is not None:
            self._begin(begun)

    def hear(self, slot: int, outcome: Outcome) -> None:
        """Let a job be ended as the child has told in its pipe; those before it have ended."""
        self.look()
        self._end(slot, outcome)

    def take_back(self, *, waits: bool = False) -> None:
        """Let what the child has not begun be handed out again, before all that came later.

        Args:
            waits: For the child to have begun what it is about to begin; else it may be that nothing is taken.
        """
        for slot in reversed(self.page.take_back(patience_s=_LOCK_PATIENCE_S if waits else 0.0)):
            job, self._jobs[slot] = self._jobs[slot], None
            job._scheduled_for = job._write_to = None
            request = request_of(job)
            if isinstance(request, StartingRequest):
                request.say_waits()
            self._put_back(job)

    def is_slow(self, now: float, *, limit_s: float) -> bool:
        """Tell whether messages wait behind a run, or for their child, for longer than that."""
        left = self.left
        if len(left) < 2:
            return False
        since = self.page.began_at(left[0]) if self.page.state(left[0]) == BEGUN else self.at
        return now - since > limit_s

    def runs(self, job: Any = None) -> bool:
        """Tell whether the child still runs a job, or any of whose start was known; after that it begins no other."""
        known = [each for each in self._jobs if each is not None and each._accepted] if job is None else [job]
        self.take_back(waits=True)
        self.look()
        left = self.left
        return bool(left) and self.page.state(left[0]) == BEGUN and self._jobs[left[0]] in known

    def child_is_dead(self, give_up: Callable[[Any], None]) -> None:
        """Settle what is left; with the last that it has begun, Celery lays the child's death at the door of that job.

        Args:
            give_up: Called with each job that the child had not begun.
        """
        for slot in reversed(self.left):
            job, at = self._jobs[slot], self.page.state(slot)
            if at == DONE:
                self._end(slot, None)
            elif at == TOLD:
                # Its pipe could not be read to the end.
                self._end(slot, (True, unknown()))
            elif at == BEGUN and not self._was_ended_for_others(job):
                self._begin(slot)
            else:
                job._accepted, job._worker_pid = False, None
                give_up(job)
                job._write_to = job._scheduled_for = None

    def close(self) -> None:
        """The child is at the end of it: what is left was passed over."""
        for slot in reversed(self.left):
            job, self._jobs[slot] = self._jobs[slot], None
            job._scheduled_for = job._write_to = None
            self._put_back(job)

    def _was_ended_for_others(self, job: Any) -> bool:
        is_by_command = getattr(self.child, "_job_terminated", False)
        return self.is_harmless or (is_by_command and job._terminated is None)

    def _begin(self, slot: int) -> None:
        job = self._jobs[slot]
        if job._accepted:
            return
        self._beginning = slot
        try:
            job._ack(None, self.page.began_at(slot), self.child.pid, None)
        # The run goes on, whoever fails to hear of it: perhaps the signal does not exist that a command named.
        except Exception:  # noqa: BLE001
            say(logger, logging.ERROR, "the start of a run is not told", exc_info=True)
        finally:
            self._beginning = None

    def _end_all(self, done: list[int]) -> None:
        """Let jobs be done, each as if it were told alone; what is alike for all is said once."""
        page, requests, took = self.page, [], []
        for slot in done:
            job = self._jobs[slot]
            if not isinstance(job, Job):
                self._end(slot, None)
                continue
            job.has_ended()
            self._begin(slot)
            self._jobs[slot] = None
            took_s = page.took_s(slot)
            took.append((job.request.name, took_s))
            if job.end():
                requests.append((job.request, took_s))
        self._on_end(self, took)
        try:
            acknowledge_all(request for request, _ in requests)
            for request, took_s in requests:
                request.send_event("task-succeeded", result=DONE_SHOWN, runtime=took_s)
        # As of a batch: what nobody lets go of is in this worker's hands for as long as it lives.
        except Exception:  # noqa: BLE001
            say(logger, logging.ERROR, "that %d runs are done is not told to all", len(requests), exc_info=True)
            give_back([request for request, _ in requests])

    def _end(self, slot: int, outcome: Outcome | None) -> None:
        job, page = self._jobs[slot], self.page
        if job is None:
            return
        self._begin(slot)
        self._jobs[slot] = None
        took_s = page.took_s(slot) if outcome is None else time.monotonic() - page.began_at(slot)
        self._on_end(self, [(owner_of(job).name, took_s)])
        if not job.ready():
            report: Report = (0, DONE_SHOWN, took_s)
            job._set(None, outcome or (True, report))


def owner_of(job: Any) -> Any:
    """Return whose job it is: a request's, or that of many; None if neither."""
    return job.request if isinstance(job, Job) else getattr(job._accept_callback, "__self__", None)


def request_of(job: Any) -> Any:
    """Return whose job it is; None if no request of Celery's."""
    request = owner_of(job)
    return request if isinstance(request, Request) else None


def is_revoked(job: Any) -> bool:
    """Tell whether a job is not to be run any more: Celery asked when the pool was given it, perhaps long ago."""
    try:
        return _is_revoked(job)
    # This is a turn of the loop. What a stranger's message says of itself is read only when something is revoked.
    except Exception:  # noqa: BLE001
        say(logger, logging.ERROR, "it is not known whether a run is revoked, so it is not", exc_info=True)
        return False


def _is_revoked(job: Any) -> bool:
    owner, some_are = owner_of(job), bool(state.revoked or state.revoked_stamps)
    if isinstance(owner, BatchRequest):
        return some_are and owner.run_without_revoked()
    return isinstance(owner, Request) and bool(some_are or owner.expires) and bool(owner.revoked())


def say_start(jobs: list[Any]) -> None:
    """Let the loss of this worker be a strike for the messages of these jobs from now on."""
    owners = [owner_of(job) for job in jobs]
    try:
        for owner in owners:
            if isinstance(owner, BatchRequest):
                owner.say_start()
        say_starts(owner.message for owner in owners if isinstance(owner, StartingRequest))
    # The jobs wait nowhere else at this moment. What is not told now, the lease tells within a second.
    except Exception:  # noqa: BLE001
        say(logger, logging.ERROR, "the start of %d runs is not told to Redis", len(owners), exc_info=True)
