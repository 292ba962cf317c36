"""Who listens to Celery's signals fails for himself alone, wherever the signal is sent."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from celery import signals
from celery.app import trace
from celery.exceptions import WorkerShutdown
from celery.worker import request
from routemq_tasks.upstream.listeners import guard_listeners

# Celery's modules have the methods of some as they are imported, which is before there is an app.
SENT = {
    "prerun": (signals.task_prerun, trace.send_prerun),
    "revoked": (signals.task_revoked, request.send_revoked),
    "unknown": (signals.task_unknown, signals.task_unknown.send),
}

Tell = Callable[[Any, BaseException], list[str]]


@pytest.fixture
def tell() -> Iterator[Tell]:
    """Tells two listeners, of whom the first fails; returns what was heard."""
    with ExitStack() as ends:

        def tell(name: str, error: BaseException) -> list[str]:
            signal, send = SENT[name]
            heard: list[str] = []

            def fail(**_said: Any) -> None:
                raise error

            def hear(**said: Any) -> None:
                heard.append(said["name"])

            guard_listeners()
            for listener in (fail, hear):
                signal.connect(listener, weak=False)
                ends.callback(signal.disconnect, listener)
            send(None, name="told")
            return heard

        yield tell


@pytest.mark.parametrize("name", SENT)
@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(5), ValueError("no")], ids=repr)
def test_the_others_hear_and_whoever_tells_goes_on(
    tell: Tell, name: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    assert tell(name, error) == ["told"]
    assert [record.message for record in caplog.records] == [f"a listener to Celery's signal task_{name} failed"]


def test_an_order_to_the_worker_is_one_from_a_listener_too(tell: Tell) -> None:
    with pytest.raises(WorkerShutdown):
        tell("prerun", WorkerShutdown(0))
