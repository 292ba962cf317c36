"""A request that is made in fewer steps is what Celery's own steps make of the same message."""

import json
import threading
import time
from types import SimpleNamespace
from typing import Any

import kombu
import pytest
from billiard.pool import RUN
from celery.concurrency import thread
from celery.exceptions import WorkerShutdown
from celery.worker import state
from celery.worker.request import Request
from routemq_tasks.admission import admit
from routemq_tasks.app import RouteMQCelery
from routemq_tasks.reports import watched
from routemq_tasks.request import RouteRequest, acknowledge_all
from routemq_tasks.upstream.prefork import RouteAsynPool
from routemq_transport.upstream.quick_message import QuickMessage

from routemq.envelope import Envelope, FailedAttempt, PastReplay, TaskMessage
from routemq.routing import Router
from routemq.settings import Settings
from routemq.tracing.trace_context import TraceContext
from tests.processes import wait_until

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
    assert ours.correlation_id == theirs.correlation_id == item.id
    assert ours.info() == theirs.info()
    assert vars(ours.context) == vars(theirs.context)
    assert (str(ours), repr(ours)) == (str(theirs), repr(theirs))


@pytest.mark.parametrize(("waiting", "is_handed_out"), [(0, True), (2, False)])
def test_what_was_fetched_together_is_handed_out_as_the_pool_takes_the_last_and_not_after_the_next_fetch(
    app: RouteMQCelery, waiting: int, is_handed_out: bool
) -> None:
    message = received(app, MESSAGE, {})
    message.channel.qos.waiting = waiting
    seen: list[Any] = []
    pool: Any = SimpleNamespace(
        _state=RUN,
        _cache={},
        lost_worker_timeout=1.0,
        timeout=None,
        soft_timeout=None,
        _put=seen.append,
        on_poll_start=lambda: seen.append("out"),
    )
    job = RouteAsynPool.take(pool, RouteRequest(message, app=app, task=app.tasks["t"], headers=message.headers))
    assert seen == [job, *["out"] * is_handed_out]


def _facts(request: RouteRequest) -> dict[str, Any]:
    slots = [name for name in Request.__slots__ if name not in ("__weakref__", "__dict__", "__payload")]
    read = [name for name, value in vars(Request).items() if isinstance(value, property)]
    found = {
        name: getattr(request, name) for name in [*slots, *read, "time_limits", "acknowledged", "chord", "errbacks"]
    }
    found.pop("message")
    return found | {name: value for name, value in vars(request).items() if name not in ("_message", "_payload")}


def raw_message(**changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(MESSAGE.encode()) | changes
    raw["properties"]["delivery_tag"] = "tag"
    return raw


@pytest.mark.parametrize(
    "changes", [{}, {"body": ""}, {"content-type": None, "content-encoding": None}], ids=["plain", "empty", "bare"]
)
def test_a_message_that_is_made_in_fewer_steps_is_kombus(changes: dict[str, Any]) -> None:
    with kombu.Connection("memory://") as connection:
        channel = connection.channel()
        ours = QuickMessage(raw_message(**changes), channel=channel)
        theirs = kombu.transport.virtual.Message(raw_message(**changes), channel=channel)
    names = [name for name in kombu.message.Message.__slots__ if name not in ("__dict__", "__weakref__")]
    assert len(names) > 10
    assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}
    assert ours.serializable() == theirs.serializable()


@pytest.mark.parametrize("body", ["é", "A", "====A", "W1tdXQé==", "\ud800", "W1 td\nXQ=="])
def test_a_body_that_is_no_base64_is_read_or_refused_as_kombu_does(body: str) -> None:
    def read(kind: Any) -> Any:
        with kombu.Connection("memory://") as connection:
            try:
                return kind(raw_message(body=body), channel=connection.channel()).body
            except ValueError as exc:
                return type(exc)

    assert read(QuickMessage) == read(kombu.transport.virtual.Message)


def test_a_message_is_acknowledged_once() -> None:
    told: list[str] = []

    class Channel:
        no_ack_consumers = None

        class qos:  # noqa: N801  kombu's name
            ack = staticmethod(told.append)

    message = QuickMessage(raw_message(), channel=Channel())
    message.ack()
    assert message.acknowledged
    with pytest.raises(message.MessageStateError):
        message.ack()
    assert told == ["tag"]


def test_celery_has_a_request_in_hand_as_by_its_own_steps(app: RouteMQCelery) -> None:
    def seen(request: RouteRequest) -> list[Any]:
        sets = (state.reserved_requests, state.active_requests, state.scheduled_requests)
        return [request.id in state.requests, *(request in each for each in sets), state.total_count["t"]]

    common: dict[str, Any] = {"app": app, "hostname": "h", "eventer": None, "task": app.tasks["t"]}
    common |= {"on_ack": print, "on_reject": print, "connection_errors": ()}
    ours, theirs = (RouteRequest.of_checked(received(app, MESSAGE, {}), **common) for _ in range(2))
    found: dict[str, list[Any]] = {"ours": [], "theirs": []}
    state.total_count.clear()
    for step in (ours.enter_pool, lambda: ours.say_accepted(7, time.monotonic()), ours.leave_pool):
        step()
        found["ours"].append(seen(ours))
    state.total_count.clear()
    for step in (state.task_reserved, state.task_accepted, state.task_ready):
        step(theirs)
        found["theirs"].append(seen(theirs))
    state.total_count.clear()
    assert found["ours"] == found["theirs"]
    assert ours.worker_pid == 7
    assert ours.time_start == pytest.approx(time.time(), abs=60)


def in_hand(app: RouteMQCelery, task_id: str = "one", **options: Any) -> tuple[RouteRequest, list[Any]]:
    """Return a request that a pool has, and what becomes of its message."""
    told: list[Any] = []
    common: dict[str, Any] = {"app": app, "hostname": "h", "eventer": None, "task": app.tasks["t"]}
    common |= {
        "on_ack": lambda *_: told.append("done"),
        "on_reject": lambda _log, _errors, requeue: told.append("back" if requeue else "dropped"),
        "connection_errors": (),
    }
    request = RouteRequest.of_checked(received(app, MESSAGE, {"id": task_id}), **common | options)
    request.say_start = lambda: None  # type: ignore[method-assign]  # its channel has no lease
    request.enter_pool()
    return request, told


def run(request: RouteRequest) -> tuple[str, list[Any]]:
    """Run it as the pools of threads do; return whether Celery still has it in hand."""
    ran: list[Any] = []

    def trace() -> tuple[int, Any, float | None]:
        ran.append(request.id)
        return 0, "None", 0.1

    request.trace = trace  # type: ignore[method-assign]
    request.run(7)
    return ("kept" if request.id in state.requests else "let go"), ran


class Deaf:
    """Hears nothing, as events whose clock or serializer fails."""

    enabled = True

    def __init__(self, *deaf_to: str) -> None:
        self._deaf_to = deaf_to

    def send(self, kind: str, **_fields: Any) -> None:
        if kind in self._deaf_to:
            raise RuntimeError(kind)


@pytest.mark.parametrize("kind", ["task-started", "task-succeeded"])
def test_a_message_is_run_and_let_go_whoever_fails_to_hear_of_it(
    app: RouteMQCelery, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    app.tasks["t"].send_events = True
    request, told = in_hand(app, eventer=Deaf(kind))
    assert run(request) == ("let go", ["one"])
    assert told == ["done"]
    assert len(caplog.records) == 1


def test_a_message_comes_back_that_cannot_be_acknowledged(app: RouteMQCelery) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no")

    request, told = in_hand(app, on_ack=fail)
    assert run(request) == ("let go", ["one"])
    assert told == ["back"]


def test_what_is_revoked_while_it_waits_for_a_thread_is_not_run(app: RouteMQCelery) -> None:
    request, told = in_hand(app, "revoked")
    request.terminate(app)
    state.revoked.add("revoked")
    try:
        assert run(request) == ("let go", [])
    finally:
        state.revoked.discard("revoked")
    assert told == ["dropped"]


def test_those_before_one_that_fails_are_acknowledged_with_others(app: RouteMQCelery) -> None:
    told: list[Any] = []

    class Consumer:
        counts_acknowledgements = False
        tell_of = staticmethod(lambda _step, messages: told.extend(messages))

    first, second = (in_hand(app, task_id)[0] for task_id in ("one", "two"))
    first.consumer = second.consumer = Consumer
    second.accepted_at = second.shared_by = 0
    with pytest.raises(ZeroDivisionError):
        acknowledge_all([first, second])
    assert told == [first.message]
    assert not second.acknowledged


def test_a_thread_that_asks_the_worker_to_stop_is_heard(app: RouteMQCelery, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> Any:
        raise WorkerShutdown(3)

    monkeypatch.setattr(state, "should_stop", None)
    request, told = in_hand(app)
    request.trace = stop  # type: ignore[method-assign]
    pool = watched(thread.TaskPool)(limit=1, app=app)
    pool.take(request)
    wait_until(lambda: state.should_stop == 3, message="the worker stops")
    state.should_stop = None
    pool.apply_async(stop)
    wait_until(lambda: state.should_stop == 3, message="the worker stops")
    pool.stop()
    # It goes back with the worker's connection, as nobody's fault.
    assert told == []


def test_what_the_system_has_no_thread_for_waits_for_one_that_there_is(
    app: RouteMQCelery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = watched(thread.TaskPool)(limit=2, app=app)
    goes_on, ran = threading.Event(), list[int]()
    pool.apply_async(goes_on.wait, args=(30,))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        request, told = in_hand(app)
        request.trace = lambda: (0, "None", 0.1)  # type: ignore[method-assign]
        pool.take(request)
        pool.apply_async(lambda: ran.append(1))
    goes_on.set()
    wait_until(lambda: ran, message="both have run")
    pool.stop()
    assert told == ["done"]


def test_a_task_runs_in_a_thread_whoever_fails_to_hear_of_its_start(
    app: RouteMQCelery, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise NotImplementedError("this pool ends no run")

    pool, ends = watched(thread.TaskPool)(limit=1, app=app), list[Any]()
    pool.apply_async(lambda: (0, "None", 0.1), accept_callback=fail, callback=ends.append)
    wait_until(lambda: ends, message="its end is told")
    pool.stop()
    assert ends == [(0, "None", 0.1)]
    assert [record.message for record in caplog.records] == ["the start of a run is not told"]
