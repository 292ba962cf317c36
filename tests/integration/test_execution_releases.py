"""What a release does not know is not dead: another one may run it."""

import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import orjson
import pytest

from routemq.envelope import Envelope, TaskMessage
from tests.applications import releases
from tests.ingest import ingesting, settings_for
from tests.processes import wait_until
from tests.servers import MqttBroker, Redis, Stack
from tests.workers import Bench

TRANSPORTS = ("routemq", "stock")
BACK = "goes back to the queue a, as all of its kind"


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix, application=releases.__name__, router=releases.RELEASES[2])


def _put_first(bench: Bench, topic: str) -> str:
    """Queue a message as ingest of the first release does."""
    message = TaskMessage(route="a/{device_id}/x", queue="a", envelope=Envelope(topic=topic, payload=b"1"))
    bench.put_raw("a", message.encode())
    return message.id


@pytest.mark.parametrize("pool", ["prefork", "solo"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_was_queued_before_a_parameter_was_renamed_is_run(bench: Bench, pool: str, transport: str) -> None:
    sent = {_put_first(bench, f"a/d{number}/x") for number in range(20)}
    with bench.worker("-P", pool, env={"RELEASE": "2", "ROUTEMQ_TRANSPORT": transport}):
        notes = bench.wait_for_notes("x", 20)
        wait_until(lambda: bench.held() == 0, message="nothing is held")
    assert {note["id"] for note in notes} == sent
    assert {note["route"] for note in notes} == {"a/{device}/x"}
    assert {note["params"]["device"] for note in notes} == {f"d{number}" for number in range(20)}
    assert not bench.letters()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_workers_of_two_releases_share_a_queue(bench: Bench, transport: str) -> None:
    env = {"ROUTEMQ_TRANSPORT": transport}
    with bench.worker("-P", "threads", "-n", "first@test", env=env | {"RELEASE": "1"}) as first:
        sent = {bench.put(f"b/{number}/y").id for number in range(10)}
        old = {_put_first(bench, f"a/d{number}/x") for number in range(10)}
        first.wait_for_output(BACK)
        bench.wait_for_notes("x", 10)
        assert not bench.notes("y")
        with bench.worker("-P", "threads", "-n", "second@test", env=env | {"RELEASE": "2"}):
            notes = bench.wait_for_notes("y", 10)
            wait_until(lambda: bench.held() == 0, message="nothing is held")
        assert first.output().count(BACK) <= 2
    assert {note["id"] for note in notes} == sent
    assert {note["id"] for note in bench.notes("x")} == old
    assert not bench.letters()


def test_a_rollout_and_its_way_back_lose_nothing(
    own_broker: Callable[..., MqttBroker], bench: Bench, group_name: str
) -> None:
    """Workers first, then ingest; back, ingest first, then workers."""
    broker = own_broker()
    stack = Stack(name="own", broker=broker, store=bench.store)
    settings = settings_for(stack, key_prefix=bench.key_prefix, group=group_name)
    sent: dict[str, int] = {"x": 0, "y": 0}

    def publish(what: str = "x") -> None:
        for _ in range(10):
            sent[what] += 1
            broker.publish(f"a/d{sent[what]}/x" if what == "x" else f"b/l{sent[what]}/y", "1")

    def ingest(release: int) -> AbstractContextManager[object]:
        return ingesting(settings, releases.RELEASES[release])

    def worker(release: int) -> AbstractContextManager[object]:
        return bench.worker("-P", "threads", "-n", f"{uuid.uuid4().hex}@test", env={"RELEASE": str(release)})

    with ExitStack() as second:
        with worker(1), ingest(1):
            publish()
            second.enter_context(worker(2))
            publish()
        # Nobody is there to take them: the broker keeps them for the session, which the next release has, too.
        publish()
        with ingest(2):
            publish()
            publish("y")
        publish()
        with ingest(1), worker(1):
            publish()
            second.close()
            publish()
            bench.wait_for_notes("x", sent["x"])
            bench.wait_for_notes("y", sent["y"])
            wait_until(lambda: bench.held() + bench.waiting("a") == 0, message="nothing is left")
    for what, letter in (("x", "d"), ("y", "l")):
        # Under whatever name a release has for it.
        given = [value for note in bench.notes(what) for value in note["params"].values()]
        assert sorted(given) == sorted(f"{letter}{number + 1}" for number in range(sent[what]))
    assert not bench.letters()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_no_release_knows_is_dead_when_a_deployment_would_be_over(bench: Bench, transport: str) -> None:
    later = orjson.dumps(Envelope(topic="a/d/x", payload=b"1").to_wire()).replace(b'"v":1', b'"v":2')
    with bench.worker("-P", "threads", env={"ROUTEMQ_UNKNOWN_ROUTE_WAIT_S": "3", "ROUTEMQ_TRANSPORT": transport}):
        put_at = time.time()
        sent = bench.put("b/1/y").id
        with bench.store.client() as client:
            body = orjson.dumps([[orjson.loads(later)], {}, {}])
            item = releases_item(body.decode())
            client.lpush(bench.keys.queue("a"), item)
        letters = bench.wait_for_letters(2)
    assert time.time() - put_at >= 3
    letter = letters[sent]
    assert (letter.reason, letter.description["route"], letter.description["topic"]) == (
        "unroutable",
        "b/{line}/y",
        "b/1/y",
    )
    assert orjson.loads(letter.raw)["headers"]["id"] == sent
    assert letters["later"].reason == "malformed"


def releases_item(body: str) -> bytes:
    headers = {"task": "a/{device_id}/x", "id": "later", "retries": 0}
    properties = {"delivery_tag": "later", "delivery_info": {"exchange": "", "routing_key": "a"}}
    message = {"body": body, "content-type": "application/json", "content-encoding": "utf-8"}
    return orjson.dumps(message | {"headers": headers, "properties": properties | {"body_encoding": "utf-8"}})
