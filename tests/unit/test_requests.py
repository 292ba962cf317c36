"""A request that is made in fewer steps is what Celery's own steps make of the same message."""

import json
from typing import Any

import kombu
import pytest
from celery.worker.request import Request
from routemq_tasks.admission import admit
from routemq_tasks.app import RouteMQCelery
from routemq_tasks.request import RouteRequest
from routemq_transport.upstream.quick_message import QuickMessage

from routemq.envelope import Envelope, FailedAttempt, PastReplay, TaskMessage
from routemq.routing import Router
from routemq.settings import Settings
from routemq.tracing.trace_context import TraceContext

TRACE = TraceContext.of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b")
MESSAGE = TaskMessage(route="t", queue="t", envelope=Envelope(topic="t", payload=b"21.5"))
MESSAGES = {
    "fresh": MESSAGE,
    "tried": MESSAGE.failed(FailedAttempt(at=1.0, error="ValueError", worker="w")),
    "replayed": MESSAGE.replayed(PastReplay(at=1.0, by="ann", error="ValueError")),
    "traced": TaskMessage(route="t", queue="t", envelope=MESSAGE.envelope, trace=TRACE, show_payload=True),
}


@pytest.fixture
def app() -> RouteMQCelery:
    router = Router()
    router.on("t", lambda message: None, name="t", queue="t", shared=True)
    return RouteMQCelery(Settings(redis_url="redis://unused"), router)


def received(app: RouteMQCelery, item: TaskMessage, changes: dict[str, Any]) -> QuickMessage:
    """Return a message as the strategy is given it."""
    raw = json.loads(item.encode())
    raw["headers"] |= changes
    raw["properties"] |= {"delivery_tag": "tag", "priority": 3}
    with kombu.Connection("memory://") as connection:
        message = QuickMessage(raw, channel=connection.channel())
    admit(message, app)
    return message


@pytest.mark.parametrize("changes", [{}, {"timelimit": [30, 20]}], ids=["plain", "limited"])
@pytest.mark.parametrize("item", MESSAGES.values(), ids=MESSAGES)
def test_both_ways_to_make_one_give_the_same(app: RouteMQCelery, item: TaskMessage, changes: dict[str, Any]) -> None:
    common: dict[str, Any] = {
        "on_ack": print,
        "on_reject": repr,
        "app": app,
        "hostname": "h",
        "eventer": None,
        "task": app.tasks["t"],
        "connection_errors": (OSError,),
    }
    first, second = received(app, item, changes), received(app, item, changes)
    theirs = RouteRequest(first, body=first.body, headers=first.headers, decoded=False, utc=True, **common)
    ours = RouteRequest.of_checked(second, **common)
    assert first.awaits_pool
    assert second.awaits_pool
    assert _facts(ours) == _facts(theirs)
    assert ours.info() == theirs.info()
    assert vars(ours.context) == vars(theirs.context)
    assert (str(ours), repr(ours)) == (str(theirs), repr(theirs))


def _facts(request: RouteRequest) -> dict[str, Any]:
    slots = [name for name in Request.__slots__ if name not in ("__weakref__", "__dict__", "__payload")]
    read = [name for name, value in vars(Request).items() if isinstance(value, property)]
    found = {
        name: getattr(request, name) for name in [*slots, *read, "time_limits", "acknowledged", "chord", "errbacks"]
    }
    found.pop("message")
    return found | {name: value for name, value in vars(request).items() if name not in ("_message", "_payload")}
