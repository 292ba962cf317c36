"""Many requests of one route that are one job of the pool's, and what becomes of each."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery.exceptions import TaskRevokedError, Terminated
from celery.worker import state
from routemq_transport.starting_request import say_starts

from routemq.logs import say
from routemq.text import error_name, printable
from routemq_tasks.batch_run import BatchReport, run_batch
from routemq_tasks.reports import Report
from routemq_tasks.request import RouteRequest, acknowledge_all

logger = logging.getLogger(__name__)

AT_ONCE_S = 0.0001
"""For a timer. Kombu's hub sleeps for a second when ten timers in a row are due at once, so not zero."""


class BatchRequest:
    """Runs requests together. When they fail together, or end their process, nobody knows whose fault it is: none of
    them has an attempt or a strike counted, and each half is run by itself, at last each message alone.

    So a message never shares the blame of another one, and what is known of a batch is never but in memory: whatever
    ends this worker, its messages are single ones again.

    Args:
        requests: Two or more, in the order of their queue.
        consumer: Celery's.
        is_part: They have failed already, with others.
    """

    def __init__(self, requests: Sequence[RouteRequest], consumer: Any, *, is_part: bool = False) -> None:
        self._requests, self._consumer, self._is_part = list(requests), consumer, is_part

    @classmethod
    def of(
        cls, requests: Sequence[RouteRequest], consumer: Any, *, is_part: bool = False
    ) -> "BatchRequest | RouteRequest":
        """Return what the pool is to be given; one message is a request like any other."""
        return requests[0] if len(requests) == 1 else cls(requests, consumer, is_part=is_part)

    def execute_using_pool(self, pool: Any, **options: Any) -> Any:
        """Hand the requests to the pool.

        Raises:
            TaskRevokedError: An operator has revoked all of them.
        """
        self._requests = [request for request in self._requests if not request.revoked()]
        if len(self._requests) < 2:
            for request in self._requests:
                return request.execute_using_pool(pool, **options)
            raise TaskRevokedError
        task = self._requests[0].task
        return pool.apply_async(
            run_batch,
            args=(task.name, [request.request_dict for request in self._requests]),
            accept_callback=self.on_accepted,
            timeout_callback=self.on_timeout,
            callback=self.on_success,
            error_callback=self.on_failure,
            soft_timeout=task.soft_time_limit,
            timeout=task.time_limit,
            correlation_id=self._requests[0].id,
        )

    def run_without_revoked(self) -> bool:
        """Let those be run by another job that no operator has revoked; False if that is all."""
        if not any(request.revoked() for request in self._requests):
            return False
        self._run_again("some are revoked", in_halves=False)
        return True

    def say_start(self) -> None:
        """Let the loss of this worker be a strike for the messages from now on."""
        say_starts([request.message for request in self._requests])

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """The pool runs them now."""
        # The lease is told in one step.
        steps: list[Callable[[], None]] = [self.say_start]
        steps += [partial(request.say_accepted, pid, time_accepted) for request in self._requests]
        for tell in steps:
            try:
                tell()
            # They run, whoever fails to hear of it: perhaps the pool has no way to end one, as a command asks.
            except Exception:  # noqa: BLE001
                say(logger, logging.ERROR, "the start of a run is not told", exc_info=True)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Do nothing: of a hard limit the pool also tells `on_failure`."""

    def on_success(self, report: Report, **_options: Any) -> None:
        """React to a run that came to its end, well or not."""
        self._see_through(lambda: self._on_report(report))

    def _on_report(self, report: Report) -> None:
        failed, found, runtime_s = report
        if failed or not isinstance(found, BatchReport):
            self._on_loss(found)
            return
        if found.failed_together is not None:
            self._run_again(found.failed_together)
            return
        share_s = (runtime_s or 0.0) / len(self._requests)
        done, ended = [], []
        for number, request in enumerate(self._requests):
            request.shared_by = len(self._requests)
            told = found.failed.get(number)
            if told is None:
                state.task_ready(request)
                done.append(request)
            else:
                ended.append((request, told))
        # First: of the others the outcome is recorded already.
        acknowledge_all(done)
        for request in done:
            request.send_event("task-succeeded", result=found.value, runtime=share_s)
        for request, told in ended:
            request.on_success(told)

    def on_failure(self, exc_info: ExceptionInfo, **_options: Any) -> None:
        """React to a run whose process is gone."""
        self._see_through(lambda: self._on_loss(exc_info))

    def _on_loss(self, exc_info: ExceptionInfo) -> None:
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        for request in self._requests:
            if request.is_ended_by_command:
                request.on_failure(exc_info)
        self._run_again(printable(error_name(error)), in_halves=not isinstance(error, Terminated))

    def _see_through(self, step: Callable[[], None]) -> None:
        """Let each message come back of which nothing was told: the pool would log the error and forget them all."""
        try:
            step()
        # Whatever it is: what nobody lets go of is in this worker's hands for as long as it lives.
        except Exception:  # noqa: BLE001
            text = "what became of %d messages (%s) is not known to all, which come back"
            say(logger, logging.ERROR, text, len(self._requests), self._requests[0].name, exc_info=True)
            give_back(self._requests)

    def _run_again(self, why: str, *, in_halves: bool = True) -> None:
        """Let the others run when an operator has ended one of them, else each half by itself."""
        requests = [r for r in self._requests if not (r.acknowledged or r.is_ended_by_command)]
        for request in requests:
            state.task_ready(request)
        if is_stopping() or not requests:
            # They stay unacknowledged, and go back to the front of their queue with the connection.
            return
        if in_halves:
            # Once for each batch: an error that each message has makes twice as many runs as there are messages.
            level = logging.DEBUG if self._is_part else logging.WARNING
            text = "%d messages (%s) failed together, each half is run by itself: %s"
            say(logger, level, text, len(requests), requests[0].name, why, extra={"route": requests[0].name})
        middle = (len(requests) + 1) // 2 if in_halves else len(requests)
        consumer = self._consumer
        for part in (requests[:middle], requests[middle:]):
            for request in part:
                state.task_reserved(request)
            if not part:
                continue
            run = partial(hand_to_pool, part, consumer, is_part=in_halves)
            if consumer.hub:
                # Between two of them the loop has its turn, also where it runs them itself.
                consumer.call_soon(run)
            else:
                # A pool of greenlets lets nobody wait for a slot who has one.
                consumer.timer.call_after(AT_ONCE_S, run)


def hand_to_pool(requests: Sequence[RouteRequest], consumer: Any, *, is_part: bool = False) -> None:
    """Let requests be run together; those that the pool does not take go back."""
    try:
        consumer.on_task_request(BatchRequest.of(requests, consumer, is_part=is_part))
    # As above; and the system may have no thread for it.
    except Exception:  # noqa: BLE001
        text = "%d messages (%s) cannot be run here, they go back"
        say(logger, logging.ERROR, text, len(requests), requests[0].name, exc_info=True)
        give_back(requests)


def give_back(requests: Sequence[RouteRequest]) -> None:
    """Let go of what has no end yet, for another run."""
    for request in requests:
        if not request.acknowledged:
            state.task_ready(request)
            request.reject(requeue=True)


def is_stopping() -> bool:
    """Return whether the worker begins nothing more."""
    return any(flag is not None and flag is not False for flag in (state.should_stop, state.should_terminate))
