"""What monitors such as Flower hear of a worker that is stopped, or cut off from Redis."""

import base64
import contextlib
import re
import threading
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from celery import Celery

from routemq.envelope import TaskMessage
from tests.gate import Gate
from tests.processes import PATIENCE_S, wait_until
from tests.servers import Redis
from tests.workers import Bench

SECRET = "what-nobody-may-see"


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


@contextlib.contextmanager
def _listening(bench: Bench) -> Iterator[list[dict[str, Any]]]:
    """Collect the events, until the block ends."""
    events: list[dict[str, Any]] = []
    with Celery(broker=bench.store.url, set_as_current=False) as monitor:
        monitor.conf.broker_transport_options = {"global_keyprefix": bench.key_prefix}
        with monitor.connection() as connection:
            receiver, listens = monitor.events.Receiver(connection, handlers={"*": events.append}), threading.Event()
            receiver.on_consume_ready = lambda *_, **__: listens.set()
            thread = threading.Thread(target=receiver.capture, kwargs={"limit": None, "wakeup": False})
            thread.start()
            try:
                assert listens.wait(PATIENCE_S)
                yield events
            finally:
                receiver.should_stop = True
                thread.join(PATIENCE_S)


def _without_topic(message: TaskMessage) -> bytes:
    body = orjson.dumps([[message.envelope.to_wire() | {"topic": None}], {}, {}])
    return message.wrap(body=base64.b64encode(body).decode(), argsrepr="")


def _ids(events: list[dict[str, Any]], kind: str) -> set[str]:
    return {event["uuid"] for event in list(events) if event["type"] == kind}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_ends_during_a_warm_shutdown_is_told(bench: Bench, pool: str) -> None:
    with _listening(bench) as events, bench.worker("-Q", "slow", "-P", pool, "-c", "3", "-E") as worker:
        wait_until(lambda: [event for event in events if event["type"] == "worker-online"], message="it is heard")
        sent = {bench.put("slow/sleep", "1").id for _ in range(3)}
        bench.wait_for_notes("started", 3)
        assert worker.terminate() == 0
        wait_until(lambda: _ids(events, "task-succeeded") == sent, message="all are told to have succeeded")


def test_what_ends_while_redis_is_away_is_told_later(bench: Bench) -> None:
    gate = Gate(bench.store)
    gate.open()
    env = {"REDIS_URL": f"redis://127.0.0.1:{gate.port}/0"}
    try:
        with _listening(bench) as events, bench.worker("-Q", "slow", "-P", "threads", "-E", env=env) as worker:
            wait_until(lambda: [event for event in events if event["type"] == "worker-online"], message="it is heard")
            sent = {bench.put("slow/async", "0.45").id for _ in range(2)}
            wait_until(lambda: _ids(events, "task-started") == sent, message="both have started")
            gate.close()
            worker.wait_for_output("Cannot connect to redis://")
            gate.open()
            wait_until(lambda: _ids(events, "task-succeeded") == sent, message="both have succeeded")
    finally:
        gate.close()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_redacted_value_is_in_no_log_and_no_event(bench: Bench, pool: str) -> None:
    env = {"DLQ_REDACT": "password", "ROUTEMQ_SHOW_PAYLOADS": "true", "ROUTEMQ_UNKNOWN_ROUTE_WAIT_S": "0"}
    payload = orjson.dumps({"password": SECRET, "name": "m"})
    with _listening(bench) as events, bench.worker("-Q", "work", "-P", pool, "-E", env=env) as worker:
        wait_until(lambda: [event for event in events if event["type"] == "worker-online"], message="it is heard")
        sent = bench.put("act/echo", payload).id
        # The error says nothing, but its arguments and its cause do; JSON that is none; a message that is none.
        others = {bench.put("act/quiet", payload).id, bench.put("act/echo", payload.replace(b'"m"', b"NaN")).id}
        broken = bench.put("act/fine", payload, id="broken")
        bench.put_raw(broken.queue, _without_topic(broken))
        letters = bench.wait_for_letters(4)
        told_of = {sent, *others, broken.id}
        wait_until(lambda: _ids(events, "task-failed") >= told_of, message="they are told to have failed")
        assert worker.terminate() == 0
        output = worker.output()
    assert SECRET not in output
    assert "is dead, reason failed: RuntimeError: cannot take" in output
    told = [
        event["exception"]
        for event in events
        if event["type"] in ("task-failed", "task-retried") and event["uuid"] == sent
    ]
    assert len(told) == 3
    assert all("RuntimeError: cannot take" in text for text in told)
    assert SECRET not in orjson.dumps(events).decode()
    for letter in letters.values():
        kept = letter.raw + orjson.dumps(letter.description)
        assert SECRET.encode() not in kept
        assert SECRET.encode() not in b"".join(map(base64.b64decode, re.findall(rb'"body":"([^"]*)"', kept)))


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_what_acts_on_a_terminal_is_written_out_in_every_log_and_event(bench: Bench, pool: str) -> None:
    acting = "\x1b[2J\x9b0m\u202e\n2026-01-01 00:00:00,000 ERROR   routemq: forged"
    with _listening(bench) as events, bench.worker("-Q", "work", "-P", pool, "-E") as worker:
        wait_until(lambda: [event for event in events if event["type"] == "worker-online"], message="it is heard")
        sent = bench.put("act/say", acting, id=acting + pool, retries=2)
        bench.wait_for_letters(1)
        wait_until(lambda: [event for event in events if event["type"] == "task-failed"], message="it has failed")
        assert worker.terminate() == 0
        output = worker.output()
    told = "".join(text for event in events for text in event.values() if isinstance(text, str))
    assert "got \\x1b[2J" in output
    assert "RuntimeError: \\x1b[2J" in output
    for text in (told, output):
        assert sent.id not in text
        assert not {"\x1b", "\x9b", "\u202e"} & set(text)
    assert not [line for line in output.splitlines() if line.startswith("2026-01-01")]
