"""What becomes of a message after an error: the judgement, which changes nothing."""

import math
from dataclasses import dataclass

from celery.exceptions import SoftTimeLimitExceeded, WorkerLostError
from routemq_transport.items import DeliveredTooOftenError, MalformedItemError

from routemq.dead_letters import Reason
from routemq.envelope import TaskMessage
from routemq.errors import EnvelopeError, InvalidMessageError
from routemq.lifecycle.limits import STRIKES_TO_DIE
from routemq.retry import Reject, Retry, RetryPolicy
from routemq_tasks.errors import LaterEnvelopeError, UnknownRouteError, UnroutableError

USUAL_POLICY = RetryPolicy()

_LONGEST_DELAY_S = 10 * 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Later:
    """The message is run again.

    Attributes:
        is_strike: It has ended a process.
    """

    delay_s: float
    is_strike: bool = False


@dataclass(frozen=True, slots=True)
class Dead:
    """The message is buried."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Kept:
    """Nothing could be recorded. Whoever holds the message gives it back."""


Fate = Later | Dead | Kept


_HOPELESS: tuple[tuple[type[Exception], Reason], ...] = (
    (UnroutableError, "unroutable"),
    (DeliveredTooOftenError, "poison"),
    (EnvelopeError, "malformed"),
    (MalformedItemError, "malformed"),
    (InvalidMessageError, "invalid"),
    (Reject, "rejected"),
)
"""Errors that no further run would help, and what their messages are dead of."""

OF_ANOTHER_RELEASE = (UnknownRouteError, LaterEnvelopeError)
"""Errors of messages that another release of the application, or of RouteMQ, may well run."""


def judge(error: BaseException, message: TaskMessage | None, policy: RetryPolicy) -> Later | Dead:
    """Say what becomes of a message after an error; all of an application's own code that has a say is run here."""
    # Not `isinstance`, which asks the error itself.
    kind = type(error)
    for hopeless, reason in _HOPELESS:
        if issubclass(kind, hopeless):
            return Dead(reason)
    if message is None:
        return Dead("malformed")
    if issubclass(kind, WorkerLostError):
        strikes = message.strikes + 1
        return Dead("poison") if strikes >= STRIKES_TO_DIE else Later(2.0 ** (strikes - 1), is_strike=True)
    delay_s = None if issubclass(kind, policy.never) else policy.delay_after(message.retries + 1)
    if delay_s is None:
        return Dead("timeout" if issubclass(kind, SoftTimeLimitExceeded) else "failed")
    if isinstance(error, Retry) and error.delay_s is not None:
        delay_s = error.delay_s
    return Later(_seconds(delay_s))


def _seconds(delay: object) -> float:
    if not isinstance(delay, (int, float)) or math.isnan(delay):
        raise TypeError(f"a delay of {delay!r} is no number of seconds")
    return float(min(max(0.0, delay), _LONGEST_DELAY_S))
