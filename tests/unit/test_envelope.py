"""The wire contract, byte for byte, and as Celery's own code reads it."""

import base64
import json
from dataclasses import replace

import orjson
import pytest
from celery.app.base import Celery
from celery.worker.request import Request
from hypothesis import given
from hypothesis import strategies as st
from kombu.serialization import prepare_accept_content
from kombu.transport.virtual.base import Channel, Message

from routemq import envelope as module
from routemq.envelope import Envelope, FailedAttempt, PastReplay, TaskMessage, unacked_record
from routemq.errors import EnvelopeError

ID = "0f8e4c9e-6a53-4b5c-9d0e-1c2b3a495867"
ENVELOPE = Envelope(topic="sensors/d1/data", payload=b'{"temperature": 21.5}', received_at=1790000000.25)
MESSAGE = TaskMessage(route="sensors/{device_id}/data", queue="sensors.data", envelope=ENVELOPE, id=ID)
JSON_ALONE = prepare_accept_content(["json"])

GOLDEN_BODY = (
    rb'[[{"v":1,"topic":"sensors/d1/data","payload":"{\"temperature\": 21.5}","qos":1,"retain":false,'
    rb'"received_at":1790000000.25}],{},{}]'
)
GOLDEN = (
    b'{"body":"' + base64.b64encode(GOLDEN_BODY) + b'","content-encoding":"utf-8","content-type":"application/json",'
    b'"headers":{"task":"sensors/{device_id}/data","id":"0f8e4c9e-6a53-4b5c-9d0e-1c2b3a495867",'
    b'"retries":0,"argsrepr":"(\'sensors/d1/data\', 21 bytes)",'
    b'"origin":"routemq@here","ignore_result":true,"routemq":{"generation":0,"failures":[]}},'
    b'"properties":{"delivery_info":{"exchange":"","routing_key":"sensors.data"},"body_encoding":"base64",'
    b'"delivery_tag":"0f8e4c9e-6a53-4b5c-9d0e-1c2b3a495867.0.0"}}'
)
VERBOSE_BODY = GOLDEN_BODY.replace(b"{}]", b'{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]')
VERBOSE = (
    GOLDEN.replace(base64.b64encode(GOLDEN_BODY), base64.b64encode(VERBOSE_BODY))
    .replace(
        b'"retries":0,',
        b'"root_id":"0f8e4c9e-6a53-4b5c-9d0e-1c2b3a495867","parent_id":null,"group":null,"retries":0,"eta":null,'
        b'"expires":null,"timelimit":[null,null],"kwargsrepr":"{}",',
    )
    .replace(b'"headers":{', b'"headers":{"lang":"py",')
    .replace(
        b'"properties":{',
        b'"properties":{"correlation_id":"0f8e4c9e-6a53-4b5c-9d0e-1c2b3a495867","reply_to":"","delivery_mode":2,'
        b'"priority":0,',
    )
)
"""The same message as earlier releases wrote it, with all that Celery does without."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
times = st.floats(0, 4e9, allow_nan=False)
envelopes = st.builds(
    Envelope,
    topic=texts.filter(bool),
    payload=st.binary(max_size=100) | texts.map(str.encode),
    qos=st.sampled_from([0, 1]),
    retain=st.booleans(),
    received_at=times,
    content_type=st.none() | texts,
    response_topic=st.none() | texts,
    correlation_data=st.none() | st.binary(max_size=20),
    user_properties=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
)
messages = st.builds(
    TaskMessage,
    route=texts.filter(bool),
    queue=texts.filter(bool),
    envelope=envelopes,
    generation=st.integers(0, 100),
    retries=st.integers(0, 100),
    failures=st.lists(st.builds(FailedAttempt, at=times, error=texts, worker=texts), max_size=3).map(tuple),
    replays=st.lists(st.builds(PastReplay, at=times, by=texts, error=texts), max_size=3).map(tuple),
)


@pytest.fixture
def celery() -> Celery:
    return Celery(set_as_current=False, broker="memory://")


def test_queued_message_is_these_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ORIGIN", "routemq@here")
    assert MESSAGE.encode() == GOLDEN


@pytest.mark.parametrize("data", [GOLDEN, VERBOSE], ids=["as it is written", "as it was written"])
def test_these_bytes_are_read_by_every_release_of_this_version(data: bytes) -> None:
    assert TaskMessage.decode(data) == MESSAGE


def test_envelope_with_everything_in_it_is_this_json() -> None:
    envelope = Envelope(
        topic="a/ü",
        payload=b"\x00\xff",
        qos=0,
        retain=True,
        received_at=1.5,
        content_type="application/octet-stream",
        response_topic="answers",
        correlation_data=b"\xfe",
        user_properties=(("b", "1"), ("a", "2"), ("b", "3")),
    )
    assert json.loads(json.dumps(envelope.to_wire())) == {
        "v": 1,
        "topic": "a/ü",
        "payload_base64": "AP8=",
        "qos": 0,
        "retain": True,
        "received_at": 1.5,
        "content_type": "application/octet-stream",
        "response_topic": "answers",
        "correlation_data_base64": "/g==",
        "user_properties": [["b", "1"], ["a", "2"], ["b", "3"]],
    }


@given(messages)
def test_any_message_comes_back_as_it_was(message: TaskMessage) -> None:
    assert TaskMessage.decode(message.encode()) == message


@given(messages)
def test_the_record_of_a_delivered_message_holds_its_bytes(message: TaskMessage) -> None:
    data = message.encode()
    record = unacked_record(data, message.queue)
    assert data in record
    assert json.loads(record) == [json.loads(data), "", message.queue]


LONG = [b"\xff\x00" * 5000, b"21.5;22.0\n" * 1000, b'{"a": "b"}' * 1000, "ü".encode() * 4000, b"a" * 5000 + b'"' * 9000]


@pytest.mark.parametrize("payload", LONG, ids=["binary", "text", "json", "letters", "quotes at the end"])
def test_a_long_message_is_no_longer_than_base64_makes_it(payload: bytes) -> None:
    message = replace(MESSAGE, envelope=replace(ENVELOPE, payload=payload))
    data = message.encode()
    assert TaskMessage.decode(data) == message
    body = orjson.dumps([[message.envelope.to_wire()], {}, {}])
    assert len(data) < len(base64.b64encode(body)) + 800
    assert _is_text(data) == (len(data) < len(body) * 1.25)


def _is_text(data: bytes) -> bool:
    return "body_encoding" not in json.loads(data)["properties"]


@given(messages, st.sampled_from([b"", *LONG]))
def test_kombu_and_celery_read_what_is_queued(message: TaskMessage, rest: bytes) -> None:
    message = replace(message, envelope=replace(message.envelope, payload=message.envelope.payload + rest))
    payload = json.loads(message.encode())
    # As kombu's virtual transport does with what it took from the list; a channel without a connection will do.
    channel = Channel.__new__(Channel)
    received = Message(payload, channel=channel, accept=JSON_ALONE)
    args, kwargs, embed = received.payload
    assert kwargs == {}
    assert embed == {}
    assert Envelope.from_wire(args[0]) == message.envelope
    assert received.delivery_tag == message.delivery_tag
    assert received.delivery_info == {"exchange": "", "routing_key": message.queue}
    assert (received.content_type, received.content_encoding) == ("application/json", "utf-8")
    assert received.headers["task"] == message.route
    assert received.headers["id"] == message.id


def test_celerys_worker_makes_a_request_of_it(celery: Celery) -> None:
    # Every other app of this process would have it too.
    @celery.task(name=MESSAGE.route, shared=False)
    def task(wire):
        raise NotImplementedError

    received = Message(json.loads(GOLDEN), channel=Channel.__new__(Channel), accept=JSON_ALONE)
    request = Request(received, app=celery, hostname="w@here", decoded=False, headers=received.headers)
    assert (request.id, request.name, request.task) == (ID, MESSAGE.route, celery.tasks[MESSAGE.route])
    assert request.argsrepr == "('sensors/d1/data', 21 bytes)"
    assert request.request_dict["retries"] == 0
    assert request.delivery_info["routing_key"] == "sensors.data"
    args, kwargs, _ = received.payload
    assert (Envelope.from_wire(args[0]), kwargs) == (ENVELOPE, {})
    assert (request.expires, request.eta, request.time_limits) == (None, None, (None, None))
    assert (request.chord, request.errbacks, request.reply_to) == (None, None, None)


def test_payload_is_shown_only_on_demand() -> None:
    secret = TaskMessage(route="r", queue="q", envelope=Envelope(topic="a", payload=b"s3cret"))
    assert json.loads(secret.encode())["headers"]["argsrepr"] == "('a', 6 bytes)"
    shown = TaskMessage(route="r", queue="q", envelope=Envelope(topic="a", payload=b"s3cret"), show_payload=True)
    assert json.loads(shown.encode())["headers"]["argsrepr"] == "('a', 6 bytes: 's3cret')"


def test_each_run_has_a_delivery_tag_of_its_own_and_one_id() -> None:
    failed = MESSAGE.failed(FailedAttempt(at=1.0, error="E", worker="w"))
    runs = [MESSAGE, failed, failed.failed(FailedAttempt(at=2.0, error="E", worker="w")), failed.replayed()]
    assert [run.delivery_tag for run in runs] == [f"{ID}.0.0", f"{ID}.0.1", f"{ID}.0.2", f"{ID}.1.0"]
    assert {run.id for run in runs} == {ID}
    assert failed.replayed().failures == ()
    assert [json.loads(run.encode())["headers"]["retries"] for run in runs] == [0, 1, 2, 0]


def test_failures_do_not_grow_without_end() -> None:
    message = MESSAGE
    for number in range(30):
        message = message.failed(FailedAttempt(at=float(number), error="E", worker="w"))
    assert [failure.at for failure in message.failures] == [float(number) for number in range(10, 30)]
    assert message.retries == 30


def test_ids_are_uuids_of_their_own() -> None:
    ids = {TaskMessage(route="r", queue="q", envelope=ENVELOPE).id for _ in range(100)}
    assert len(ids) == 100


@pytest.mark.parametrize(
    "wire",
    [
        None,
        [],
        "text",
        {},
        {"v": 2, "topic": "a", "payload": "x", "qos": 1, "retain": False, "received_at": 1.0},
        {"v": 1, "payload": "x", "qos": 1, "retain": False, "received_at": 1.0},
        {"v": 1, "topic": "a", "qos": 1, "retain": False, "received_at": 1.0},
        {"v": 1, "topic": 5, "payload": "x", "qos": 1, "retain": False, "received_at": 1.0},
        {"v": 1, "topic": "a", "payload": 5, "qos": 1, "retain": False, "received_at": 1.0},
        {"v": 1, "topic": "a", "payload": "x", "qos": "1", "retain": False, "received_at": 1.0},
        {"v": 1, "topic": "a", "payload": "x", "qos": 1, "retain": False, "received_at": "now"},
        {"v": 1, "topic": "a", "payload_base64": "no base64!", "qos": 1, "retain": False, "received_at": 1.0},
        {"v": 1, "topic": "a", "payload": "x", "qos": 1, "retain": False, "received_at": 1.0, "user_properties": [1]},
        {"v": 1, "topic": "a", "payload": "\ud800", "qos": 1, "retain": False, "received_at": 1.0},
    ],
)
def test_what_is_no_envelope_is_refused(wire: object) -> None:
    with pytest.raises(EnvelopeError, match="not a RouteMQ message: "):
        Envelope.from_wire(wire)


def changed(**parts: object) -> bytes:
    return json.dumps({**json.loads(GOLDEN), **parts}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"5",
        b"[]",
        b"{}",
        GOLDEN[:-1],
        changed(body=5),
        changed(body="no base64!"),
        changed(body=base64.b64encode(b"[]").decode()),
        changed(body=base64.b64encode(b'[["text"],{},{}]').decode()),
        changed(headers={}),
        changed(headers=None),
        changed(headers={**json.loads(GOLDEN)["headers"], "retries": 1e308 * 10}),
        changed(headers={**json.loads(GOLDEN)["headers"], "retries": "many"}),
        changed(headers={**json.loads(GOLDEN)["headers"], "id": None}),
        changed(headers={**json.loads(GOLDEN)["headers"], "routemq": [1]}),
        changed(headers={**json.loads(GOLDEN)["headers"], "routemq": {"failures": [[1]]}}),
        changed(properties={}),
    ],
)
def test_what_is_no_message_is_refused_and_kept(data: bytes) -> None:
    with pytest.raises(EnvelopeError) as caught:
        TaskMessage.decode(data)
    assert caught.value.data == data


json_values = st.recursive(
    st.none() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        TaskMessage.decode(data)


@given(json_values, st.sampled_from(["body", "headers", "properties"]))
def test_no_part_of_a_message_does_more_than_be_refused(value: object, part: str) -> None:
    with pytest.raises(EnvelopeError):
        TaskMessage.decode(changed(**{part: value}))


@given(json_values, st.sampled_from(sorted(ENVELOPE.to_wire())))
def test_no_field_of_an_envelope_does_more_than_be_refused(value: object, name: str) -> None:
    try:
        Envelope.from_wire({**ENVELOPE.to_wire(), name: value})
    except EnvelopeError as exc:
        assert exc.problem  # noqa: PT017  some values are as good as those they replace


@pytest.mark.parametrize("payload", [b"x" * 1_000_000, b"\xff" * 1_000_000, b"\x00" * 1_000_000])
def test_a_payload_that_is_shown_is_shown_in_part(payload: bytes) -> None:
    shown = TaskMessage(route="r", queue="q", envelope=Envelope(topic="a", payload=payload), show_payload=True)
    argsrepr = orjson.loads(shown.encode())["headers"]["argsrepr"]
    assert argsrepr.startswith("('a', 1000000 bytes: ")
    assert argsrepr.endswith("…)")
    assert len(argsrepr) < 10_000
