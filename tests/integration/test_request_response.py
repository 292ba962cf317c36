"""Answers to requests over MQTT 5, and questions that controllers ask."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from paho.mqtt.packettypes import PacketTypes

from routemq.cli import main
from routemq.discovery import load_router
from routemq.envelope import TaskMessage
from routemq.errors import RequestError
from routemq.script import open_client
from routemq.settings import Settings
from tests.mqtt_peer import Peer, properties
from tests.processes import wait_until
from tests.servers import Mosquitto, Redis, Stack
from tests.workers import Bench

APPLICATION = "tests.applications.asking"
HOSTILE = {
    "$share/group/answers": "topics that begin with $ are the broker's own",
    "$SYS/broker/uptime": "topics that begin with $ are the broker's own",
    "answers/+": "a topic name holds no wildcard",
    "#": "a topic name holds no wildcard",
    "": "a topic has at least one character",
    "a\0b": "a topic cannot hold the null character",
    "x" * 65_536: "longer than 65535 bytes",
    "settings/d1": "it is a route's of this application",
    "ask/d1": "it is a route's of this application",
}
"""Where no answer goes, and why."""


@pytest.fixture
def bench(mosquitto_server: Mosquitto, redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix, application=APPLICATION, router=load_router(APPLICATION))


@contextlib.contextmanager
def device(port: int, prefix: str) -> Iterator[Peer]:
    """A device that answers each request with what it was asked; one of another name never does."""
    peer = Peer(port).connect()

    def answer(_client: Any, _userdata: Any, message: Any) -> None:
        peer.messages.append(message)
        asked = message.properties
        if message.topic.endswith("/d1") and hasattr(asked, "ResponseTopic"):
            said = properties(
                PacketTypes.PUBLISH, CorrelationData=asked.CorrelationData, ContentType="application/json"
            )
            stranger = properties(PacketTypes.PUBLISH, CorrelationData=b"another's")
            peer.client.publish(asked.ResponseTopic, b"not for you", 1, properties=stranger)
            peer.client.publish(asked.ResponseTopic, b'{"was": %b}' % message.payload, 1, properties=said)

    peer.client.on_message = answer
    peer.subscribe(f"{prefix}/#", qos=1)
    with contextlib.closing(peer):
        yield peer


def request(
    bench: Bench, topic: str, payload: str, response_topic: str | None, data: bytes | None = None
) -> TaskMessage:
    made = bench.message(topic, payload)
    envelope = replace(made.envelope, response_topic=response_topic, correlation_data=data)
    made = replace(made, envelope=envelope)
    bench.put_raw(made.queue, made.encode())
    return made


def by_topic(peer: Peer) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for message in list(peer.messages):
        found.setdefault(message.topic.partition("/")[2], []).append(message)
    return found


def ask_from_a_script(env: dict[str, str], prefix: str) -> None:
    """The device answers a script, and a command, as it does a controller."""
    settings = Settings(_env_file=None, mqtt_broker=env["MQTT_BROKER"], mqtt_port=int(env["MQTT_PORT"]))  # type: ignore[call-arg]
    with open_client(settings) as client:
        assert client.request(f"{prefix}/devices/d1", [1], timeout_s=30).result().json() == {"was": [1]}
        client.publish(f"{prefix}/from-a-script", b"x", 1)
        for never in (0, -1, None, float("nan"), "5"):
            with pytest.raises(RequestError, match="it is a positive number of seconds"):
                client.request(f"{prefix}/devices/d1", b"", timeout_s=never)  # type: ignore[arg-type]
    asked = CliRunner(env=env).invoke(main, ["request", f"{prefix}/devices/d1", "2", "--timeout", "30"])
    assert (asked.exit_code, asked.stdout) == (0, '{"was": 2}')
    asked = CliRunner(env=env).invoke(main, ["request", f"{prefix}/devices/d2", "--timeout", "0.2"])
    assert (asked.exit_code, asked.stdout) == (1, "")
    assert asked.stderr == f"Error: request to '{prefix}/devices/d2': no answer within 0.2 s\n"


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_requests_are_answered_and_asked(bench: Bench, mosquitto_server: Mosquitto, pool: str, key_prefix: str) -> None:
    env = Stack(name="", broker=mosquitto_server, store=bench.store).environment(key_prefix=key_prefix)
    with (
        device(mosquitto_server.port, key_prefix) as peer,
        bench.worker("-P", pool, "-c", "2", env=env | {"ROUTEMQ_ROUTERS": APPLICATION}) as worker,
    ):
        request(bench, "settings/d1", "null", f"{key_prefix}/typed", b"\0\xff")
        request(bench, "settings/d2", "null", None)
        request(bench, "settings-async/d1", "null", f"{key_prefix}/async", b"2")
        request(bench, "text", "ab", f"{key_prefix}/text", b"")
        request(bench, "nothing", "null", f"{key_prefix}/nothing", b"done")
        asked = [bench.put(f"{way}/d1", '{"timeout_s": 30}') for way in ("ask", "ask-async")]
        unanswered = [bench.put(f"{way}/d2", '{"timeout_s": 0.2}') for way in ("ask", "ask-async")]
        refused = [request(bench, "settings/d1", "null", topic) for topic in HOSTILE]
        foreign = request(bench, "own/d1", "null", f"answers/d2/{key_prefix}")
        bench.wait_for_notes("asked", len(asked))
        ask_from_a_script(env, key_prefix)
        bench.wait_for_letters(len(refused) + len(unanswered) + 1)
        wait_until(lambda: {"typed", "async", "text", "nothing"} <= by_topic(peer).keys(), message="all are answered")
        assert worker.terminate() == 0
        output = worker.output()

    answers = by_topic(peer)
    (typed,), (text,), (nothing,) = answers["typed"], answers["text"], answers["nothing"]
    assert orjson.loads(typed.payload) == {"device": "d1", "interval_s": 10}
    assert (typed.qos, typed.retain, typed.properties.CorrelationData) == (1, False, b"\0\xff")
    assert 0 < typed.properties.MessageExpiryInterval <= 91
    assert orjson.loads(answers["async"][0].payload) == {"device": "d1"}
    assert (text.payload, nothing.payload, nothing.properties.CorrelationData) == (b"abab", b"", b"done")

    assert [found["answer"] for found in sorted(bench.notes("asked"), key=lambda note: str(note["answer"]))] == [
        [{"was": {"number": number}} for number in range(3)],
        {"was": {"sync": True}},
    ]
    no_answer = f"RequestError: request to '{key_prefix}/devices/d2': no answer within 0.2 s"
    assert output.count(no_answer) == len(unanswered)
    letters, ran = bench.letters(), {note["id"] for note in bench.notes("ran")}
    for each in [*refused, foreign]:
        assert (letters[each.id].reason, each.id in ran) == ("invalid", False)
        why = HOSTILE.get(str(each.envelope.response_topic), "this message's answer goes within 'answers/{device}/")
        assert any(each.id in line and why in line for line in output.splitlines())
