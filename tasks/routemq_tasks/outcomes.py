"""What becomes of a message whose run failed, and its record in Redis, written before Celery hears of it."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import redis
from celery.exceptions import SoftTimeLimitExceeded, WorkerLostError

from routemq.dead_letters import DeadLetter, DeadLetters, Reason
from routemq.dead_letters.redaction import Redaction
from routemq.delayed import DelayedRetries
from routemq.envelope import Envelope, FailedAttempt, TaskMessage
from routemq.errors import InvalidMessageError
from routemq.lifecycle.limits import STRIKES_TO_DIE
from routemq.queues import Keys
from routemq.retry import Reject, Retry, RetryPolicy
from routemq.text import error_line
from routemq_tasks.errors import OutcomeNotRecordedError, UnroutableError

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Later:
    """The message is run again."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Dead:
    """The message is buried."""

    reason: Reason


def judge(error: BaseException, message: TaskMessage, policy: RetryPolicy) -> Later | Dead:
    """Say what becomes of a message whose present run ended with an error."""
    if isinstance(error, UnroutableError):
        return Dead("unroutable")
    if isinstance(error, InvalidMessageError):
        return Dead("invalid")
    if isinstance(error, Reject):
        return Dead("rejected")
    if isinstance(error, WorkerLostError):
        strikes = 1 + sum(failure.error.startswith(WorkerLostError.__name__) for failure in message.failures)
        return Dead("poison") if strikes >= STRIKES_TO_DIE else Later(2.0 ** (strikes - 1))
    delay_s = None if isinstance(error, policy.never) else policy.delay_after(message.retries + 1)
    if delay_s is None:
        return Dead("timeout" if isinstance(error, SoftTimeLimitExceeded) else "failed")
    if isinstance(error, Retry) and error.delay_s is not None:
        delay_s = max(0.0, error.delay_s)
    return Later(delay_s)


class Ledger:
    """Moves a message out of a worker's hands and records where it went, in one atomic step each.

    Redis may be away for a while: each step is repeated until it is recorded. Repeating is harmless, because the step
    is fenced by the delivery tag.

    Args:
        dead_letters: Where a burial goes; it knows what must not be kept.
        redaction: What logs and monitors must not show either.
        patience_s: How long to repeat before `OutcomeNotRecordedError`; Celery then keeps the message unacknowledged.
    """

    def __init__(
        self,
        client: "redis.Redis",
        keys: Keys,
        *,
        dead_letters: DeadLetters,
        redaction: Redaction | None = None,
        patience_s: float = 30.0,
    ) -> None:
        self._client, self._keys = client, keys
        self._delayed = DelayedRetries(client, keys)
        self._dead_letters, self._redaction = dead_letters, redaction
        self._patience_s = patience_s

    def describe(self, error: BaseException, envelope: Envelope) -> str:
        """Return the error of a message's run as logs and monitors may show it."""
        redaction = self._redaction
        if redaction is None:
            return error_line(error)
        return error_line(error, hide=lambda text: redaction.of_text(envelope, text))

    def hides(self, error: BaseException, envelope: Envelope) -> bool:
        """Say whether monitors may not see the error itself, with its arguments and causes."""
        return self._redaction is not None and self._redaction.hides(envelope, error)

    def record(
        self,
        error: BaseException,
        message: TaskMessage,
        *,
        policy: RetryPolicy,
        delivery_tag: str,
        worker: str,
        patience_s: float | None = None,
    ) -> Later | Dead:
        """Judge a failed run, record the verdict and return it.

        Raises:
            OutcomeNotRecordedError: Redis stayed away.
        """
        verdict, shown = judge(error, message, policy), self.describe(error, message.envelope)
        if isinstance(verdict, Dead):
            letter = DeadLetter.of(message, reason=verdict.reason, error=error, worker=worker)
            self.bury(letter, delivery_tag=delivery_tag, patience_s=patience_s)
            return verdict
        delay_s = verdict.delay_s
        following = message.failed(FailedAttempt(at=time.time(), error=shown, worker=worker))
        held = self._insist(
            lambda: self._delayed.retry_later(following, delivery_tag=delivery_tag, delay_s=delay_s), patience_s
        )
        context = {"route": message.route, "message_id": message.id}
        if held:
            logger.warning(
                "run %d of message %s (%s) failed, next in %.1f s: %s",
                message.retries + 1, message.id, message.route, delay_s, shown, extra=context,
            )  # fmt: skip
        else:
            _log_taken(message.id, message.route)
        return verdict

    def bury(self, letter: DeadLetter, *, delivery_tag: str, patience_s: float | None = None) -> DeadLetter | None:
        """Move a message to the dead letters.

        Returns:
            The letter as it is kept, which alone may be told of; None when the message was not in hand any more.

        Raises:
            OutcomeNotRecordedError: Redis stayed away.
        """
        kept = self._insist(lambda: self._dead_letters.bury(letter, delivery_tag=delivery_tag), patience_s)
        if kept is None:
            _log_taken(letter.id, letter.route)
        else:
            logger.error(
                "message %s (%s) is dead, reason %s: %s", kept.id, kept.route, kept.reason, kept.error,
                extra={"route": kept.route, "message_id": kept.id},
            )  # fmt: skip
        return kept

    def acknowledge(self, delivery_tag: str, *, patience_s: float | None = None) -> None:
        """Let go of a message that is done, when the connection it came by is gone.

        Raises:
            OutcomeNotRecordedError: Redis stayed away.
        """
        with self._client.pipeline(transaction=True) as pipe:
            pipe.zrem(self._keys.unacked_index, delivery_tag)
            pipe.hdel(self._keys.unacked, delivery_tag)
            self._insist(pipe.execute, patience_s)

    def _insist(self, step: Callable[[], T], patience_s: float | None) -> T:
        deadline = time.monotonic() + (self._patience_s if patience_s is None else patience_s)
        pause_s = 0.1
        while True:
            try:
                return step()
            except redis.RedisError as exc:
                if time.monotonic() + pause_s > deadline:
                    raise OutcomeNotRecordedError(problem=error_line(exc)) from exc
                logger.warning("outcome not recorded yet, trying again: %s", error_line(exc))
            time.sleep(pause_s)
            pause_s = min(2.0, pause_s * 2)


def _log_taken(message_id: str, route: str) -> None:
    # The visibility timeout passed, or the outcome was recorded by an earlier try whose answer was lost.
    logger.warning(
        "message %s (%s) is not in this worker's hands any more; its outcome stands elsewhere", message_id, route,
        extra={"route": route, "message_id": message_id},
    )  # fmt: skip
