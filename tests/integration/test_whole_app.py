import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
from celery.worker import state

from routemq import Batch, Client, Message, RetryPolicy, Router
from routemq.message import PublishProperties
from routemq.testing import NotIdleError, NotServingError, TestApp
from tests.processes import PATIENCE_S


def echoing() -> Router:
    """Routes that answer one another, and fail."""
    router = Router()
    seen: set[str] = set()
    held = threading.Event()

    async def chain(number: int, client: Client) -> None:
        client.publish("seen", str(number), qos=0)
        if number:
            client.publish(f"chain/{number - 1}", b"", qos=number % 2)

    def twice(message: Message, client: Client) -> None:
        client.publish(f"copies/{message.route}", message.payload, qos=1, retain=True)

    def once(job: str) -> None:
        if job not in seen:
            seen.add(job)
            raise ConnectionError(job)

    def hold(message: Message) -> None:
        held.wait(PATIENCE_S)

    router.on("chain/{number:int}", chain)
    router.on("both/{what}", twice, name="one", shared=True)
    router.on("both/+", twice, name="two")
    router.on("jobs/{job}", once, retry=RetryPolicy(base_delay_s=600))
    router.on("hold", hold)
    router.on("release", lambda message: held.set())
    return router


@pytest.fixture
def app() -> Iterator[TestApp]:
    with TestApp(echoing()) as app:
        yield app


def test_idle_means_that_all_that_messages_led_to_has_ended(app: TestApp) -> None:
    app.publish("chain/20")
    assert sorted(int(each.payload) for each in app.wait_idle().published if each.topic == "seen") == list(range(21))


def test_routes_that_overlap_get_a_copy_each_and_nobody_a_message_of_no_route(app: TestApp) -> None:
    app.publish("both/x", {"a": 1}, qos=0)
    app.publish("nobody/x", "y")
    copies = {each.topic: each for each in app.wait_idle().published if each.topic.startswith("copies/")}
    assert set(copies) == {"copies/one", "copies/two"}
    assert copies["copies/one"].json() == {"a": 1}
    assert copies["copies/one"].retain
    assert "nobody/x" not in {each.topic for each in app.published}


def test_requests_batches_and_what_a_worker_opens_are_as_in_production() -> None:
    router, steps = Router(), list[object]()

    @router.on_worker_start
    def pool() -> Iterator[None]:
        steps.append("opened")
        yield
        steps.append("closed")

    def many(payloads: list[int]) -> None:
        steps.append(sum(payloads))

    router.on("ask/{what}", lambda what: {"what": what}, reply=True)
    router.on("many", many, batch=Batch())
    with TestApp(router) as app:
        app.publish("ask/x", properties=PublishProperties(response_topic="answers", correlation_data=b"7"))
        for _ in range(10):
            app.publish("many", 1)
        (answer,) = app.wait_idle().published
    assert (answer.topic, answer.json()) == ("answers", {"what": "x"})
    assert answer.properties == PublishProperties(correlation_data=b"7")
    assert steps[0] == "opened"
    assert steps[-1] == "closed"
    assert sum(step for step in steps if isinstance(step, int)) == 10


def test_a_retry_waits_for_its_time_only_where_that_is_wanted(app: TestApp) -> None:
    app.publish("jobs/1")
    with pytest.raises(NotIdleError, match=r"jobs/\{job\}: received 1, done 0, dead 0, queued 1"):
        app.wait_idle(0.3, hasten=False)
    app.wait_idle()
    assert app.dead_letters == ()


def test_what_runs_is_waited_for(app: TestApp) -> None:
    app.publish("hold")
    with pytest.raises(NotIdleError, match="hold: received 1, done 0"):
        app.wait_idle(0.3)
    app.publish("release")
    app.wait_idle()


def test_there_is_one_at_a_time_and_it_leaves_nothing_behind() -> None:
    with TestApp(echoing()) as app, pytest.raises(RuntimeError, match="another TestApp"), TestApp(Router()):
        pytest.fail("it runs")
    assert state.should_stop is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((app.settings.mqtt_broker, app.settings.mqtt_port), timeout=5)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("routemq-test")] == []


def test_async_tests_have_it_too() -> None:
    async def test() -> None:
        router = Router()
        router.on("a/{b}", lambda b, client: client.publish(f"c/{b}", b))
        async with TestApp(router) as another:
            await asyncio.gather(*(another.publish_async(f"a/{number}") for number in range(10)))
            await another.wait_idle_async()
            assert len(another.published) == 10

    asyncio.run(test())


def test_what_does_not_start_says_why_and_an_application_without_routes_does() -> None:
    router = Router()
    router.on("a", "nowhere:Controller.run")
    with pytest.raises(NotServingError, match=r"nowhere.*: importing it failed"), TestApp(router):
        pytest.fail("it runs")
    with TestApp(Router()) as app:
        app.publish("a")
        assert app.wait_idle().published == ()
