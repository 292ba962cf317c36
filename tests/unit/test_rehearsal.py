import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from celery import current_task
from pydantic import BaseModel

from routemq import Client, Context, Message, Middleware, Reject, Retry, RetryPolicy, Router
from routemq.middleware import Next
from routemq.testing import Dead, Done, Later, NoSingleRouteError, Published, TestApp, deliver, deliver_async

OF_ONE_RUN: ContextVar[str] = ContextVar("OF_ONE_RUN")


class Reading(BaseModel):
    temperature: float


class AskedToEndError(BaseException):
    """As pytest's own, which no `except Exception` takes for a failure of what is tested."""


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


class BrokenPolicy(RetryPolicy):
    def delay_after(self, attempts: int) -> float | None:
        raise ZeroDivisionError


def router_of(controller: Callable[..., Any], topic: str = "d/{device}", **options: Any) -> Router:
    router = Router()
    router.on(topic, controller, **options)
    return router


def raising(error: BaseException, *, is_async: bool = False) -> Callable[..., Any]:
    def run() -> None:
        raise error

    async def run_async() -> None:
        raise error

    return run_async if is_async else run


def test_a_message_is_bound_run_and_answered() -> None:
    seen: list[object] = []

    def controller(device: str, payload: Reading, message: Message, client: Client) -> None:
        seen.extend([device, payload.temperature, message.attempt, message.generation])
        seen.extend(message.envelope.user_properties)
        client.publish(f"replies/{device}", {"ok": True}, qos=1, retain=True)
        client.publish("log", b"\xff")

    result = deliver(
        router_of(controller), "d/7", Reading(temperature=21.5), attempt=2, generation=1, user_properties={"a": "b"}
    )
    assert (result.outcome, result.error) == (Done(), None)
    assert seen == ["7", 21.5, 2, 1, ("a", "b")]
    assert result.published[0] == Published(topic="replies/7", payload=b'{"ok":true}', qos=1, retain=True)
    assert result.published[0].json() == {"ok": True}
    assert result.published[1].payload == b"\xff"
    assert result.check() is result


@pytest.mark.parametrize("properties", [{"a": "b"}.items(), {("a", "b")}, [["a", "b"]]])
def test_user_properties_are_pairs_in_any_collection(properties: Any) -> None:
    def controller(message: Message) -> None:
        assert [*map(tuple, message.envelope.user_properties)] == [("a", "b")]

    deliver(router_of(controller), "d/7", user_properties=properties).check()


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("error", "options", "attempt", "outcome"),
    [
        (ValueError("x"), {}, 1, Later(1.0)),
        (ValueError("x"), {}, 2, Later(2.0)),
        (ValueError("x"), {}, 3, Dead("failed")),
        (ValueError("x"), {"retry": RetryPolicy(never=(ValueError,))}, 1, Dead("failed")),
        (Retry("soon", delay_s=7), {}, 1, Later(7.0)),
        (Retry("soon", delay_s=7), {"retry": RetryPolicy(max_attempts=1)}, 1, Dead("failed")),
        (Retry("soon", delay_s=float("nan")), {}, 1, Dead("failed")),
        (Reject("bad"), {}, 1, Dead("rejected")),
        (SystemExit(1), {}, 3, Dead("failed")),
        (UnspeakableError(), {}, 3, Dead("failed")),
        (ValueError("x"), {"retry": BrokenPolicy()}, 1, Later(1.0)),
    ],
)
def test_a_failure_has_the_outcome_that_a_worker_records(
    error: BaseException, options: dict[str, Any], attempt: int, outcome: Later | Dead, is_async: bool
) -> None:
    result = deliver(router_of(raising(error, is_async=is_async), **options), "d/7", attempt=attempt)
    if isinstance(outcome, Later) and isinstance(result.outcome, Later):
        assert outcome.delay_s <= result.outcome.delay_s <= outcome.delay_s * 1.1  # its jitter
    else:
        assert result.outcome == outcome
    assert result.error is error
    with pytest.raises(type(error)):
        result.check()


def test_what_does_not_fit_is_dead_at_once_and_never_run() -> None:
    def controller(device: int, payload: Reading) -> None:
        raise AssertionError

    router = router_of(controller, "d/{device:int}")
    assert deliver(router, "d/x", {"temperature": 1}).outcome == Dead("invalid")
    assert deliver(router, "d/7", "warm").outcome == Dead("invalid")
    assert deliver(router, "d/7", b"x" * 1_048_577).outcome == Dead("too_large")


@pytest.mark.parametrize("is_async", [False, True])
def test_middleware_of_either_kind_goes_around_either_kind(is_async: bool) -> None:
    steps: list[object] = []

    class Outer(Middleware):
        def handle(self, context: Context, next_handler: Next) -> Any:
            steps.append("outer")
            context.client.publish("from/middleware", "x")
            return next_handler(context)

    class Inner(Middleware):
        async def handle(self, context: Context, next_handler: Next) -> Any:
            steps.append("inner")
            if context.message.payload == b"stop":
                return None
            return await next_handler(context)

    async def controller(device: str) -> None:
        steps.append(device)

    def plain(device: str) -> None:
        steps.append(device)

    router = router_of(controller if is_async else plain, middleware=[Outer(), Inner()])
    assert [each.topic for each in deliver(router, "d/7").check().published] == ["from/middleware"]
    assert deliver(router, "d/8", "stop").outcome == Done()
    assert steps == ["outer", "inner", "7", "outer", "inner"]


def test_what_a_failed_run_published_is_told() -> None:
    def controller(client: Client) -> None:
        client.publish("a", "x")
        client.publish("a/+", "x")

    result = deliver(router_of(controller), "d/7")
    assert [each.topic for each in result.published] == ["a"]
    assert "no wildcard" in str(result.error)


@pytest.mark.parametrize("is_async", [False, True])
def test_what_is_meant_for_the_test_reaches_it(is_async: bool) -> None:
    with pytest.raises(AskedToEndError):
        deliver(router_of(raising(AskedToEndError(), is_async=is_async)), "d/7")


def test_a_coroutine_that_nobody_awaits_and_one_that_takes_too_long_fail() -> None:
    async def late(device: str) -> None:
        await asyncio.sleep(3600)

    result = deliver(router_of(late, timeout_s=0.05), "d/7", attempt=3)
    assert result.outcome == Dead("timeout")
    assert "longer than 0.05 s" in str(result.error)

    def forgets(device: str) -> object:
        return late(device)

    assert "without awaiting" in str(deliver(router_of(forgets), "d/7").error)


def test_async_controllers_share_a_loop_or_are_on_the_tests_own() -> None:
    loops: list[object] = []

    async def controller(device: str) -> None:
        loops.append(asyncio.get_running_loop())

    router = router_of(controller)
    deliver(router, "d/1").check()
    deliver(router, "d/2").check()

    async def test() -> None:
        results = await asyncio.gather(*(deliver_async(router, f"d/{number}") for number in range(20)))
        assert {result.outcome for result in results} == {Done()}
        assert loops[2:] == [asyncio.get_running_loop()] * 20

    asyncio.run(test())
    assert loops[0] is loops[1] is not loops[2]


def test_a_topic_of_no_route_or_of_several_is_told() -> None:
    router = router_of(raising(ValueError()))
    router.on("d/7", raising(ValueError()), name="seven")
    with pytest.raises(NoSingleRouteError, match=r"no route takes it; the routes are: d/\{device\}, seven"):
        deliver(router, "e/7")
    with pytest.raises(NoSingleRouteError, match=r"each of these routes gets a copy: d/\{device\}, seven"):
        deliver(router, "d/7")
    assert deliver(router, "d/7", route="seven").error is not None
    with pytest.raises(NoSingleRouteError):
        deliver(router, "d/8", route="seven")
    for topic in ("", "d/+", "d/\0"):
        with pytest.raises(ValueError, match="topic"):
            deliver(router, topic)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"atempt": 3}, r"no option atempt=; there are route=, qos=, retain=, attempt="),
        ({"attempt": 0}, "attempt=0: it is a whole number; the first run is 1"),
        ({"attempt": True}, "attempt=True"),
        ({"generation": -1}, "generation=-1"),
        ({"qos": 3}, "qos=3: it is 0, 1 or 2"),
        ({"retain": "yes"}, "retain='yes': it is True or False"),
        ({"received_at": "yesterday"}, "received_at='yesterday': it is Unix seconds"),
        ({"message_id": 5}, "message_id=5"),
        ({"content_type": "half \ud800"}, "content_type='half "),
        ({"correlation_data": "abc"}, "correlation_data='abc': it is bytes, or None"),
        ({"user_properties": "abc"}, "user_properties='abc'"),
        ({"user_properties": [("a",)]}, "user_properties="),
        ({"user_properties": {"a": 1}}, "user_properties="),
    ],
)
def test_a_message_that_nobody_could_receive_is_told_and_not_delivered(options: Any, told: str) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        deliver(router_of(raising(ValueError())), "d/8", **options)


def test_what_is_no_router_is_told() -> None:
    router: Any = "app.routers"
    with pytest.raises(TypeError, match=r"deliver takes a Router and a topic, not 'app\.routers' and 'd/8'"):
        deliver(router, "d/8")
    with pytest.raises(TypeError, match=r"a TestApp takes a Router, not 'app\.routers'"):
        TestApp(router)
    with pytest.raises(RuntimeError, match="within its `with` block alone"):
        TestApp(Router()).publish("d/8")


def test_nothing_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MQTT_PORT": "tcp://10.0.0.1:1883",
        "REDIS_URL": "nonsense",
        "INGEST_MAX_PAYLOAD_BYTES": "1",
        "DLQ_REDACT_HOOK": "nowhere:hook",
        "ROUTEMQ_TRANSPORT": "stock",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    assert deliver(router_of(lambda device: None), "d/7", b"xyz").outcome == Done()


def test_a_message_sees_the_tests_context_and_leaves_none_of_its_own() -> None:
    seen: list[str] = []

    def controller(device: str) -> None:
        seen.append(OF_ONE_RUN.get())
        OF_ONE_RUN.set(device)

    OF_ONE_RUN.set("the test")
    router = router_of(controller)
    for _ in range(2):
        deliver(router, "d/7").check()
    assert [*seen, OF_ONE_RUN.get()] == ["the test"] * 3


def test_celery_has_a_current_task_while_a_sync_controller_runs() -> None:
    def controller(message: Message, client: Client) -> None:
        request = current_task.request
        client.publish("told", [request.id == message.id, request.retries, current_task.name])
        current_task.retry(countdown=7)

    result = deliver(router_of(controller), "d/7", attempt=2)
    assert (result.outcome, result.published[0].json()) == (Later(7), [True, 1, "d/{device}"])
    assert not current_task
