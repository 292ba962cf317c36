"""A message between Celery's consumer and its pool, and what becomes of it when the pool loses it."""

import logging
import time
from collections.abc import Iterable
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery import signals
from celery.exceptions import Reject, Retry, Terminated, TimeLimitExceeded, WorkerLostError
from celery.worker import state
from routemq_transport.upstream.quick_message import QuickMessage, acknowledge_together

from routemq.logs import say
from routemq.text import error_line
from routemq_tasks.errors import NotEndedError, TimedOutError
from routemq_tasks.fate import Dead, Kept, Later
from routemq_tasks.outcomes import PATIENCE_S
from routemq_tasks.reports import Report, report_of
from routemq_tasks.upstream.public_names import OpenRequest

logger = logging.getLogger(__name__)


class RouteRequest(OpenRequest):
    """Hands the pool the body that the consumer has decoded already, and has recorded what the run itself could not.

    Only what succeeded is acknowledged. After any failure the message is given back, whoever says what: if its outcome
    is recorded, it has left the worker's hands, and there is nothing to give.

    Attributes:
        shared_by: How many messages its run was of, which took their time together.
        consumer: Celery's, if messages may be acknowledged together.
    """

    acknowledged: bool
    shared_by = 1
    consumer: Any = None
    _has_failed = False

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **{**options, "body": message.payload, "decoded": True})

    @property
    def has_strikes(self) -> bool:
        """Whether somebody died of it before; then it is run apart from others."""
        return bool(self.request_dict["routemq"]["strikes"])

    @property
    def limits_s(self) -> tuple[float | None, float | None]:
        """The soft and the hard limit of its run, of a pool that has any."""
        (hard_s, soft_s), task = self.time_limits, self.task
        return soft_s or task.soft_time_limit, hard_s or task.time_limit

    @property
    def is_last(self) -> bool:
        """Whether nothing comes after it of what was fetched with it."""
        message = self.message
        return isinstance(message, QuickMessage) and not message.channel.qos.waiting

    def execute_using_pool(self, pool: Any, **options: Any) -> Any:
        """Hand it to the pool, in fewer steps where the pool has them.

        Raises:
            TaskRevokedError: An operator has revoked it; a pool with fewer steps looks as the run begins.
        """
        take = getattr(pool, "take", None)
        return super().execute_using_pool(pool, **options) if take is None else self.hand_over(take)

    def info(self, safe: bool = False) -> dict[str, Any]:
        """Describe the message to `celery inspect`, with as much of its payload as events show."""
        described: dict[str, Any] = super().info(safe=True)
        return described

    def run(self, pid: int) -> None:
        """Run it in this thread, and react to its end.

        Args:
            pid: This process'.
        """
        try:
            if self.revoked():
                return
            self.on_accepted(pid, time.monotonic())
        # It runs, as in a process, whoever fails to hear of its start; nobody would look at the thread's result.
        except Exception:  # noqa: BLE001
            say(logger, logging.ERROR, "the start of a run is not told", exc_info=True)
        self.on_success(report_of(self.trace))

    def on_success(self, report: Report, **options: Any) -> None:
        """React to a run that came to its end, well or not."""
        failed, value, runtime_s = report
        try:
            if failed:
                super().on_success(report, **options)
                return
            self.leave_pool()
            self.acknowledge()
            self.send_event("task-succeeded", result=value, runtime=runtime_s)
        # Every pool would forget it. What nobody lets go of is in this worker's hands for as long as it lives.
        except Exception:  # noqa: BLE001
            say(logger, logging.ERROR, "the end of a run is not told to all", exc_info=True)
            self._come_back()

    def on_failure(self, exc_info: ExceptionInfo, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """React to a run that failed, or whose process is gone.

        Args:
            exc_info: Billiard's description of the exception.
            send_failed_event: Whether monitors hear of it.
            return_ok: Whether the run itself returned; then it had its outcome recorded.
        """
        try:
            self._on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
        # As above.
        except Exception:  # noqa: BLE001
            say(logger, logging.ERROR, "the end of a run is not told to all", exc_info=True)
            self._come_back()

    def _on_failure(self, exc_info: ExceptionInfo, *, send_failed_event: bool, return_ok: bool) -> None:
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if not self._has_failed:
            self._has_failed = True
            # What was given back was not run, or is run again as if it had not been.
            if not isinstance(error, Reject):
                self._time(is_done=False)
        by_command = isinstance(error, Terminated) or self.is_ended_by_command
        if by_command or (return_ok and not isinstance(error, NotEndedError)):
            super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
            return
        state.task_ready(self)
        if state.should_terminate:
            # A cold shutdown took the process away. The message stays unacknowledged, and is given back.
            return
        self._settle(error if isinstance(error, Exception) else WorkerLostError(error_line(error)), exc_info)

    def _come_back(self) -> None:
        """Let go of the message, for another run if the end of this one was not told."""
        self.leave_pool()
        self._give_back()

    def acknowledge(self) -> None:
        """Let go of the message: if its run succeeded, for good."""
        message = self.acknowledge_with_others()
        if message is not None:
            self.consumer.tell_of(message.ack)

    def acknowledge_with_others(self) -> QuickMessage | None:
        """Let go of the message of a run that succeeded; return it if its channel is still to be told."""
        if self._has_failed:
            self._give_back()
            return None
        if self.acknowledged:
            return None
        self._time(is_done=True)
        message, consumer = self.message, self.consumer
        if isinstance(message, QuickMessage) and consumer is not None and not consumer.counts_acknowledgements:
            self.acknowledged = True
            return message
        if not self._connection_is_gone():
            super().acknowledge()
        else:
            self.acknowledged = True
            self.app.process.outcomes.acknowledge(message.delivery_tag, patience_s=PATIENCE_S)
        return None

    def reject(self, requeue: bool = False) -> None:
        """Drop the message, or give it back; when its connection is gone, its visibility timeout does."""
        if requeue:
            self._give_back()
            self.send_event("task-rejected", requeue=True)
        elif not self._connection_is_gone():
            super().reject(requeue=False)

    def _time(self, *, is_done: bool) -> None:
        if self.accepted_at is None:
            return
        arguments = self.args
        envelope = arguments[0] if arguments else None
        self.app.timings.ended(
            self.name,
            took_s=(time.monotonic() - self.accepted_at) / self.shared_by,
            received_at=envelope.get("received_at") if isinstance(envelope, dict) else None,
            is_first=not self.request_dict.get("retries"),
            is_done=is_done,
        )

    def on_revoked(self) -> None:
        """Drop it: Celery acknowledges what an operator revoked, and an acknowledgement counts the message as done."""
        self.reject(requeue=False)

    def _give_back(self) -> None:
        if self.acknowledged:
            return
        self.acknowledged = True
        if self.app.settings.transport == "routemq":
            self.on_reject(logger, self.connection_errors, True)
            return
        # Celery's own transport would queue it again at once, and again.
        self.app.process.outcomes.give_back(self.message.delivery_tag, patience_s=PATIENCE_S)
        if not self._connection_is_gone():
            self.on_ack(logger, self.connection_errors)

    def _connection_is_gone(self) -> bool:
        # Our transport takes an acknowledgement that comes late; Celery's own would end the worker.
        return self.app.settings.transport == "stock" and bool(self.message.channel.closed)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Do nothing: a soft limit is the run's own affair; of a hard one the pool also tells `on_failure`."""

    def _settle(self, error: Exception, exc_info: ExceptionInfo) -> None:
        task = self.task
        if isinstance(error, TimeLimitExceeded):
            error = TimedOutError(task.route.timeout_s or error.args[0], killed=True)
        held = task.held(self.request_dict, lambda: self.args, tag=self.message.delivery_tag, worker=self.hostname)
        process = self.app.process
        settled = process.outcomes.settle(held, error, patience_s=PATIENCE_S)
        if process.runs is not None:
            # What the run itself would have told is gone with its process.
            process.runs.record(held, settled, error, started_at=self.time_start)
        fate = settled.fate
        self._give_back()
        if isinstance(fate, Kept):
            self.send_event("task-rejected", requeue=True)
            return
        kind = "task-retried" if isinstance(fate, Later) else "task-failed"
        self.send_event(kind, exception=settled.told, traceback="")
        self._signal(fate, error, exc_info)

    def _signal(self, fate: Later | Dead, error: Exception, exc_info: ExceptionInfo) -> None:
        """Tell those who listen to Celery, as the process would have done that is gone."""
        task = self.task
        task.request_stack.push(self.context)
        try:
            if isinstance(fate, Later):
                reason = Retry(exc=error, when=fate.delay_s)
                signals.task_retry.send(sender=task, request=self.context, reason=reason, einfo=exc_info)
            else:
                signals.task_failure.send(
                    sender=task, task_id=self.id, exception=error, args=self.args, kwargs=self.kwargs,
                    traceback=error.__traceback__, einfo=exc_info,
                )  # fmt: skip
        finally:
            task.request_stack.pop()


def acknowledge_all(requests: Iterable[RouteRequest]) -> None:
    """Let go of messages whose runs have succeeded, in one step those that came over one channel."""
    consumer: Any = None
    waiting: dict[Any, list[QuickMessage]] = {}
    try:
        for request in requests:
            message = request.acknowledge_with_others()
            if message is not None:
                consumer = request.consumer
                waiting.setdefault(message.channel, []).append(message)
    finally:
        # Also those before one that fails: they take themselves for acknowledged, and nobody else would say it.
        for messages in waiting.values():
            consumer.tell_of(acknowledge_together, messages)
