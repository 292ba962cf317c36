"""A message between Celery's consumer and its pool, and what becomes of it when the pool loses it."""

import logging
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from celery.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.worker import state
from routemq_transport.request import StartingRequest

from routemq.dead_letters import DeadLetter
from routemq.envelope import Envelope
from routemq.errors import EnvelopeError
from routemq.text import error_line
from routemq_tasks.consumer import PATIENCE_S
from routemq_tasks.errors import OutcomeNotRecordedError, TimedOutError
from routemq_tasks.outcomes import Later, Ledger

logger = logging.getLogger(__name__)


class RouteRequest(StartingRequest):
    """Hands the pool the body that the consumer has decoded already, and records what the run itself could not."""

    acknowledged: bool

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **{**options, "body": message.payload, "decoded": True})

    def info(self, safe: bool = False) -> dict[str, Any]:
        """Describe the message to `celery inspect`, which shows payloads only where they may be shown."""
        described: dict[str, Any] = super().info(safe=safe or not self._app.settings.shows_payloads)
        return described

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """React to a run that failed, or whose process is gone.

        Args:
            exc_info: Billiard's description of the exception.
            send_failed_event: Whether monitors hear of it.
            return_ok: Whether the run itself returned; then its outcome is on record.
        """
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        by_command = isinstance(error, Terminated) or self._already_cancelled or self._already_revoked
        if return_ok or by_command:
            super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
            return
        state.task_ready(self)
        if state.should_terminate:
            # A cold shutdown took the process away. The message stays unacknowledged, and is given back.
            return
        self._record(error if isinstance(error, Exception) else WorkerLostError(error_line(error)))

    def acknowledge(self) -> None:
        """Let go of the message, by another connection when its own is gone."""
        if self.acknowledged or not self._connection_is_gone():
            super().acknowledge()
            return
        self.acknowledged = True
        try:
            self._app.process.ledger.acknowledge(self.message.delivery_tag, patience_s=PATIENCE_S)
        except OutcomeNotRecordedError as exc:
            logger.error("message %s (%s) is done, but %s; it will be run again", self.id, self.name, exc)

    def reject(self, requeue: bool = False) -> None:
        """Give the message back; when its connection is gone, its visibility timeout does."""
        if not self._connection_is_gone():
            super().reject(requeue=requeue)

    def _announce_revoked(self, *args: Any, **options: Any) -> None:
        # Celery acknowledges what an operator revoked, and an acknowledgement counts the message as done.
        self.reject(requeue=False)
        super()._announce_revoked(*args, **options)

    def _connection_is_gone(self) -> bool:
        # Our transport takes an acknowledgement that comes late; Celery's own would end the worker.
        return self._app.settings.transport == "stock" and bool(self.message.channel.closed)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Do nothing: a soft limit is the run's own affair; of a hard one the pool also tells `on_failure`."""

    def _record(self, error: Exception) -> None:
        ledger: Ledger = self._app.process.ledger
        try:
            later = self._record_by(ledger, error)
        except OutcomeNotRecordedError as exc:
            logger.error("message %s (%s): %s; it comes back", self.id, self.name, exc)
            return
        self.acknowledge()
        kind = "task-retried" if later else "task-failed"
        self.send_event(kind, exception=error_line(error), traceback="")

    def _record_by(self, ledger: Ledger, error: Exception) -> bool:
        task, tag = self._task, self.message.delivery_tag
        try:
            message = task.message_of(self.request_dict, Envelope.from_wire(self.args[0]))
        except EnvelopeError as exc:
            letter = DeadLetter.malformed(
                route=task.name,
                queue=self.delivery_info["routing_key"],
                message_id=self.id,
                error=exc,
                worker=self.hostname,
            )
            ledger.bury(letter, delivery_tag=tag, patience_s=PATIENCE_S)
            return False
        if isinstance(error, TimeLimitExceeded):
            error = TimedOutError(task.route.timeout_s or error.args[0], killed=True)
        verdict = ledger.record(
            error, message, policy=task.route.retry, delivery_tag=tag, worker=self.hostname, patience_s=PATIENCE_S
        )
        return isinstance(verdict, Later)
