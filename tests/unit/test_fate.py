from dataclasses import replace

import pytest
from celery.exceptions import WorkerLostError
from routemq_tasks.errors import TimedOutError, UnroutableError
from routemq_tasks.fate import Dead, Later, judge

from routemq.envelope import Envelope, FailedAttempt, TaskMessage
from routemq.errors import InvalidMessageError
from routemq.retry import Reject, Retry, RetryPolicy

POLICY = RetryPolicy(jitter=0.0, never=(LookupError,))


def _message(*failures: str) -> TaskMessage:
    return TaskMessage(
        route="r",
        queue="q",
        envelope=Envelope(topic="t", payload=b""),
        failures=tuple(FailedAttempt(at=1.0, error=error, worker="w") for error in failures),
        retries=len(failures),
    )


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("x"), Later(1.0)),
        (SystemExit(1), Later(1.0)),
        (TimedOutError(2.0), Later(1.0)),
        (Retry("not yet"), Later(1.0)),
        (Retry("not yet", delay_s=7.5), Later(7.5)),
        (Retry("at once", delay_s=-1), Later(0.0)),
        (WorkerLostError("gone"), Later(1.0, is_strike=True)),
        (KeyError("x"), Dead("failed")),
        (Reject("no"), Dead("rejected")),
        (InvalidMessageError(part="payload", problem="empty"), Dead("invalid")),
        (UnroutableError(route="r", problem="gone"), Dead("unroutable")),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_first_run(error: BaseException, outcome: Later | Dead) -> None:
    assert judge(error, _message(), POLICY) == outcome


def test_waits_double_until_the_policy_gives_up() -> None:
    message = _message("ValueError: x")
    assert judge(ValueError("x"), message, POLICY) == Later(2.0)
    message = _message("ValueError: x", "ValueError: x")
    assert judge(ValueError("x"), message, POLICY) == Dead("failed")
    assert judge(TimedOutError(2.0), message, POLICY) == Dead("timeout")
    assert judge(Retry("once more", delay_s=1), message, POLICY) == Dead("failed")


def test_strikes_are_counted_apart_from_failures() -> None:
    lost = WorkerLostError("gone")
    failed = _message("ValueError: x", "ValueError: x")
    assert judge(lost, failed, POLICY) == Later(1.0, is_strike=True)
    assert judge(lost, replace(failed, strikes=1), POLICY) == Later(2.0, is_strike=True)
    assert judge(lost, replace(failed, strikes=2), POLICY) == Dead("poison")
    assert judge(ValueError("x"), replace(_message(), strikes=2), POLICY) == Later(1.0)
