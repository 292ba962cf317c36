"""The quick encoder writes what `TaskMessage` writes, byte for byte."""

import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routemq.encoding import MessageEncoder
from routemq.envelope import Envelope, TaskMessage

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@given(
    topic=TEXT,
    payload=st.binary(max_size=60) | TEXT.map(str.encode) | st.text('\x00\x1f\x7f\n"\\a').map(str.encode),
    route=TEXT,
    queue=TEXT,
    qos=st.sampled_from((0, 1)),
    retain=st.booleans(),
    show_payload=st.booleans(),
    times=st.sampled_from((1, 1000)),
)
def test_the_quick_encoder_and_task_message_agree(
    topic: str, payload: bytes, route: str, queue: str, qos: int, retain: bool, show_payload: bool, times: int
) -> None:
    payload *= times
    encoder = MessageEncoder(route=route, queue=queue, show_payload=show_payload)
    item = encoder.encode(topic, payload, qos=qos, retain=retain, received_at=b"1790000000.25")
    task_id = orjson.loads(item)["headers"]["id"]
    envelope = Envelope(topic=topic, payload=payload, qos=qos, retain=retain, received_at=1790000000.25)
    expected = TaskMessage(route=route, queue=queue, id=task_id, envelope=envelope, show_payload=show_payload)
    assert item == expected.encode()
    assert TaskMessage.decode(item).envelope == envelope


def test_control_characters_do_not_take_six_bytes_each() -> None:
    encoder = MessageEncoder(route="r", queue="q")
    frame = encoder.encode("t", b"", qos=1, retain=False, received_at=b"0.0")
    for payload, most in ((b"\x01" * 9000, 1.8), (b'"\\\n' * 3000, 2.7), (b"a" * 9000, 1.4)):
        item = encoder.encode("t", payload, qos=1, retain=False, received_at=b"0.0")
        assert len(item) - len(frame) < most * len(payload)
        assert TaskMessage.decode(item).envelope.payload == payload


def test_ids_are_random_uuids() -> None:
    encoder = MessageEncoder(route="r", queue="q")
    items = [encoder.encode("t", b"", qos=1, retain=False, received_at=b"0.0") for _ in range(500)]
    ids = [uuid.UUID(orjson.loads(item)["headers"]["id"]) for item in items]
    assert len(set(ids)) == 500
    assert {(each.version, each.variant) for each in ids} == {(4, uuid.RFC_4122)}


def test_no_thread_and_no_child_gets_the_id_of_another() -> None:
    # A process of its own, for one with threads is not to be forked.
    script = """
import os, threading
from routemq.encoding import MessageEncoder
encoder = MessageEncoder(route="r", queue="q")
def put(path, count):
    with open(path, "a") as file:
        for _ in range(count):
            item = encoder.encode("t", b"", qos=1, retain=False, received_at=b"0.0")
            file.write(item.split(b'"id":"')[1][:36].decode() + chr(10))
put("parent", 1)
if not (child := os.fork()):
    put("child", 300)
    os._exit(0)
os.waitpid(child, 0)
threads = [threading.Thread(target=put, args=(f"thread{number}", 3000)) for number in range(4)]
for thread in threads:
    thread.start()
put("parent", 300)
for thread in threads:
    thread.join()
"""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", script], cwd=folder, check=True)
        ids = [line for path in Path(folder).iterdir() for line in path.read_text("utf-8").split()]
    assert len(ids) == len(set(ids)) == 1 + 300 + 300 + 4 * 3000


def test_a_topic_that_is_not_utf8_travels_byte_for_byte() -> None:
    envelope = Envelope(topic="\ufffd/data", payload=b"\xff", topic_bytes=b"\xff/data")
    item = MessageEncoder(route="r", queue="q").encode_envelope(envelope)
    assert TaskMessage.decode(item).envelope == envelope


def test_an_envelope_without_topic_bytes_is_read_as_before() -> None:
    wire = {"v": 1, "topic": "t", "payload": "", "qos": 1, "retain": False, "received_at": 1.0}
    assert Envelope.from_wire(wire) == Envelope(topic="t", payload=b"", received_at=1.0)
    assert Envelope(topic="t", payload=b"", received_at=1.0).to_wire() == wire


@pytest.mark.parametrize("route", ["a%b", "%", 'quote"', "back\\slash", "\U0001f321"])
def test_a_route_may_have_any_name(route: str) -> None:
    item = MessageEncoder(route=route, queue="q").encode("t", b"", qos=1, retain=False, received_at=b"0.0")
    assert TaskMessage.decode(item).route == route
