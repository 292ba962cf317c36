"""Payloads that are not JSON: decoded for a controller, and refused where they would do harm."""

import asyncio
import struct
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import cbor2
import msgpack
import pytest
from celery.exceptions import WorkerTerminate
from google.protobuf import struct_pb2, wrappers_pb2
from pydantic import BaseModel
from routemq_flower.editing import check_payload, encoded
from routemq_tasks.errors import TimedOutError

from routemq import Batch, Router
from routemq.dead_letters.decoded import decoded_payload
from routemq.envelope import Envelope, TaskMessage
from routemq.errors import InvalidMessageError, ReplyError, RouteError
from routemq.named_codecs import NAMED, named_codec
from routemq.payload_codecs import decoded
from routemq.testing import Dead, Result, deliver


class Reading(BaseModel):
    temperature: float
    at: datetime | None = None
    raw: bytes = b""


class Packed:
    """An application's own: two numbers, big endian."""

    name = "two numbers"

    def decode(self, payload: bytes) -> Any:
        low, high = struct.unpack("!hh", payload)
        return {"temperature": low / 10, "at": high}

    def encode(self, value: Any) -> bytes:
        return struct.pack("!hh", round(value["temperature"] * 10), 0)


READING = {"temperature": 21.5, "at": datetime(2026, 1, 1, tzinfo=UTC), "raw": b"\0\xff"}
AT = "2026-01-01T00:00:00Z"


def delivered(codec: Any, payload: bytes, controller: Any = None, **options: Any) -> Any:
    """Return what a controller gets; the result of its message if it gets nothing."""
    got: list[Any] = []

    def typed(payload: Reading) -> None:
        got.append(payload)

    def open_(payload: Any) -> None:
        got.append(payload)

    handler = {None: typed, Any: open_}.get(controller, controller)
    router = Router()
    router.on("a", handler, **({} if codec is None else {"codec": codec}))
    result = deliver(router, "a", payload, **options)
    return got[0] if got else result


@pytest.mark.parametrize(
    ("codec", "payload", "content_type"),
    [
        ("cbor", cbor2.dumps(READING), None),
        ("msgpack", msgpack.packb(READING, datetime=True), None),
        # What says how it is encoded needs no word of the route.
        (None, cbor2.dumps(READING), "application/cbor"),
        (None, msgpack.packb(READING, datetime=True), "Application/VND.msgpack; a=b"),
        ({"application/cbor": "cbor", "*": "msgpack"}, cbor2.dumps(READING), "application/cbor"),
        ({"application/cbor": "cbor", "*": "msgpack"}, msgpack.packb(READING, datetime=True), "text/plain"),
        ({"application/cbor": "cbor", "*": "msgpack"}, msgpack.packb(READING, datetime=True), None),
    ],
)
def test_a_model_is_validated_from_what_was_decoded(codec: Any, payload: bytes, content_type: str | None) -> None:
    options = {} if content_type is None else {"content_type": content_type}
    assert delivered(codec, payload, **options) == Reading(**READING)  # type: ignore[arg-type]
    assert delivered(codec, payload, Any, **options) == READING


def test_json_stays_json_and_bytes_stay_bytes() -> None:
    def raw(payload: bytes) -> None:
        assert payload == b"\xf6"

    assert delivered(None, b'{"temperature": 1}', content_type="application/json") == Reading(temperature=1)
    assert delivered({"application/json": "json"}, b'{"temperature": 1}', content_type="application/json") == Reading(
        temperature=1
    )
    assert delivered(None, b"\xf6", raw, content_type="application/cbor").check()


def test_an_applications_own_codec_is_asked() -> None:
    assert delivered(Packed(), struct.pack("!hh", 215, 0)).temperature == 21.5
    problem = refused(Packed(), b"x")
    assert problem == "payload: not two numbers: error: unpack requires a buffer of 4 bytes"


def test_a_batch_is_decoded_message_by_message() -> None:
    def many(payloads: list[Reading]) -> None:
        assert payloads == [Reading(**READING)]  # type: ignore[arg-type]

    router = Router()
    router.on("a", many, codec="cbor", batch=Batch())
    deliver(router, "a", cbor2.dumps(READING)).check()


def test_protobuf_comes_as_its_class_its_fields_or_a_model() -> None:
    class Value(BaseModel):
        value: int

    got: list[Any] = []

    def as_class(payload: wrappers_pb2.Int64Value) -> None:
        got.append(payload.value)

    def as_model(payload: Value) -> None:
        got.append(payload.value)

    path = "protobuf:google.protobuf.wrappers_pb2.Int64Value"
    data = wrappers_pb2.Int64Value(value=2**40).SerializeToString()
    delivered(None, data, as_class)
    delivered(path, data, as_class)
    router = Router()
    router.on("struct", as_model, codec="protobuf:google.protobuf.Struct")
    deliver(router, "struct", struct_pb2.Struct(fields={"value": struct_pb2.Value(number_value=7)}).SerializeToString())
    assert got == [2**40, 2**40, 7]
    assert str(refused(path, b"\xff")).startswith("payload: not protobuf google.protobuf.Int64Value: DecodeError")
    codec = named_codec(path)
    assert codec.encode(codec.decode(data)) == data


def test_sparkplug_has_values_as_their_types_say() -> None:
    codec = named_codec("sparkplug")
    value = {
        "timestamp": 5,
        "seq": 0,
        "metrics": [
            {"name": "small", "datatype": 1, "value": -5},
            {"name": "large", "alias": 3, "datatype": 4, "value": -(2**40)},
            {"name": "unsigned", "datatype": 7, "value": 2**32 - 1},
            {"name": "half", "datatype": 10, "value": 1.5},
            {"name": "no", "datatype": 11, "value": False},
            {"name": "text", "datatype": 12, "value": "é"},
            {"name": "nothing", "datatype": 9, "is_null": True, "value": None},
        ],
    }
    # {1: 5, 2: {1: "t", 4: Int8, 10: -5 in 8 bits}, 3: 0}, as the specification has it on the wire.
    wire = b"\x08\x05\x12\x08\x0a\x01t\x20\x01\x50\xfb\x01\x18\x00"
    assert codec.decode(wire) == {"timestamp": 5, "seq": 0, "metrics": [{"name": "t", "datatype": 1, "value": -5}]}
    assert codec.decode(codec.encode(value)) == value
    assert isinstance(delivered("sparkplug", wire, Any), dict)


def refused(codec: Any, payload: bytes, controller: Any = None, **options: Any) -> str:
    result = delivered(codec, payload, controller, **options)
    assert isinstance(result, Result)
    assert result.outcome == Dead("invalid")
    return str(result.error)


@pytest.mark.parametrize(
    ("codec", "payload", "problem"),
    [
        ("cbor", b"", "payload: not CBOR: CBORDecodeEOF"),
        ("cbor", b"\xff", "payload: not CBOR: "),
        ("cbor", b"\x00\x00", "payload: not CBOR: ValueError: 1 bytes after its end"),
        ("cbor", b"\xa0", "payload: temperature: Field required"),
        ("msgpack", b"", "payload: not MessagePack: "),
        ("msgpack", b"\xc1", "payload: not MessagePack: "),
        ("msgpack", b"\x81\x80\x00", "payload: not MessagePack: TypeError: unhashable"),
        ("msgpack", b"\x01\x01", "payload: not MessagePack: ExtraData"),
        ("json", b"NaN", "payload: not JSON: "),
        ("sparkplug", b"\xff", "payload: not Sparkplug B: DecodeError"),
        ({"application/cbor": "cbor"}, b"\xa0", "content type: none; the route takes application/cbor"),
    ],
)
def test_what_does_not_decode_is_a_dead_letter_that_says_where(codec: Any, payload: bytes, problem: str) -> None:
    assert refused(codec, payload).startswith(problem)


BOMBS = {
    "cbor deep": ("cbor", b"\x81" * 100_000 + b"\x00"),
    "cbor deep enough": ("cbor", b"\x81" * 150 + b"\x00"),
    "cbor long": ("cbor", b"\x9b\x7f" + b"\xff" * 7),
    "cbor within itself": ("cbor", bytes.fromhex("d81c81d81d00")),
    "cbor shared": (
        "cbor",
        # Forty lists, each of the one before, twice: a million million values in 300 bytes.
        b"\x98\x28\xd8\x1c\x80" + b"".join(b"\xd8\x1c\x82" + (b"\xd8\x1d" + cbor2.dumps(n)) * 2 for n in range(39)),
    ),
    "cbor shared in a tag": (
        "cbor",
        b"\xd9\x13\x88\x98\x28\xd8\x1c\x80"
        + b"".join(b"\xd8\x1c\x82" + (b"\xd8\x1d" + cbor2.dumps(n)) * 2 for n in range(39)),
    ),
    "cbor tag within itself": ("cbor", bytes.fromhex("d81cd91388d81d00")),
    "cbor tags": ("cbor", b"\xd9\x13\x88" * 150 + b"\x00"),
    "cbor exponent": ("cbor", cbor2.dumps(cbor2.CBORTag(4, [10**9, 1]))),
    "cbor number": ("cbor", cbor2.dumps(1 << 5000)),
    "msgpack deep": ("msgpack", b"\x91" * 100_000 + b"\x00"),
    "msgpack deep enough": ("msgpack", b"\x91" * 150 + b"\x00"),
    "msgpack long": ("msgpack", b"\xdd\x7f\xff\xff\xff"),
    "protobuf deep": ("protobuf:google.protobuf.Struct", b"\x0a\x7f" * 100_000),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused(bomb: str) -> None:
    codec, payload = BOMBS[bomb]
    began_at = time.process_time()
    with pytest.raises(InvalidMessageError, match=r"^payload: not "):
        decoded(named_codec(codec), payload)
    # What it would unfold to takes for ever.
    assert time.process_time() - began_at < 30


class PanicError(BaseException):
    """As what a library in Rust raises."""

    def __str__(self) -> str:
        raise SystemExit


class Raising(Packed):
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def decode(self, payload: bytes) -> Any:
        if payload == b"good":
            return {}
        raise self._error

    def encode(self, value: Any) -> bytes:
        raise self._error


@pytest.mark.parametrize("error", [SystemExit(1), GeneratorExit(), asyncio.CancelledError(), PanicError()])
def test_whatever_an_applications_own_codec_raises_is_of_the_payload(error: BaseException) -> None:
    async def wait(payload: Any) -> None:
        """Do nothing."""

    for controller in (Any, wait):
        result = delivered(Raising(error), b"x", controller)
        assert result.outcome == Dead("invalid")
        assert type(error).__name__ in str(result.error)
    router = Router()
    router.on("a", wait, name="a", codec=Raising(error))
    for payload in (b"x", b"good"):
        envelope = Envelope(topic="a", payload=payload, qos=1, retain=False, received_at=0.0)
        found = decoded_payload(router, TaskMessage(envelope=envelope, route="a", queue="a", id="1"))
        assert (found is None) == (payload == b"x")
    assert found is not None
    assert found.problem is not None
    with pytest.raises(InvalidMessageError):
        found.encode("{}")


def test_a_run_that_ends_while_a_codec_decodes_says_nothing_of_the_payload() -> None:
    for error in (TimedOutError(1.0), WorkerTerminate(1)):
        with pytest.raises(type(error)):
            decoded(Raising(error), b"x")


def test_a_tag_that_is_not_known_is_taken() -> None:
    value = [cbor2.CBORTag(5000, cbor2.CBORTag(5001, (1, None)))]
    codec = named_codec("cbor")
    assert decoded(codec, codec.encode(value)) == value


def test_what_is_large_and_honest_is_taken() -> None:
    value = {"rows": [[number, str(number), None] for number in range(20_000)], "sum": Decimal("1.5e20")}
    for name in ("cbor", "msgpack"):
        codec = named_codec(name)
        given = value if name == "cbor" else {"rows": value["rows"]}
        assert decoded(codec, codec.encode(given)) == given


def nothing(payload: Any) -> None:
    """Takes anything."""


class Later:
    async def decode(self, payload: bytes) -> Any:
        """Nothing."""

    async def encode(self, value: Any) -> bytes:
        return b""


class Little(Later):
    def decode(self, payload: bytes) -> Any:  # type: ignore[override]
        yield payload


class Forgetful:
    """Its `encode` has lost its `return`; a text is no payload either."""

    def __init__(self, made: Any = None) -> None:
        self.made = made

    def decode(self, payload: bytes) -> Any:
        return {"temperature": len(payload)}

    def encode(self, value: Any) -> Any:
        return self.made


class Hollow(Forgetful):
    """It has a length, of what it has learned so far perhaps."""

    def __len__(self) -> int:
        return 0


def test_a_codec_that_counts_as_false_is_one_all_the_same() -> None:
    for codec in (Hollow(), {"*": Hollow()}, {"a/b": Hollow()}, {"a/b": Hollow(), "*": "json"}):
        assert delivered(codec, b"123", Any, content_type="a/b; x=1") == {"temperature": 3}


@pytest.mark.parametrize("made", [None, "text", {"a": 1}, 3])
def test_what_a_codec_makes_that_is_no_payload_is_told(made: Any) -> None:
    def answer() -> int:
        return 1

    router = Router()
    route = router.on("a", answer, codec=Forgetful(made), reply=True)
    result = deliver(router, "a", b"1", response_topic="r")
    assert isinstance(result.error, ReplyError)
    assert f"encode of Forgetful returned {type(made).__name__}, not bytes" in str(result.error)
    assert result.published == ()
    found = decoded_payload(
        router, TaskMessage(route="a", queue=route.queue, envelope=Envelope(topic="a", payload=b"1"))
    )
    assert found is not None
    with pytest.raises(InvalidMessageError, match=r"returned .*, not bytes"):
        found.encode("{}")


@pytest.mark.parametrize(
    ("codec", "problem"),
    [
        ("cbr", "codec='cbr': there is no such codec. Mend: the names are json, cbor, "),
        ("protobuf:", "there is no protobuf message ''"),
        ("protobuf:no.such.Message", "there is no protobuf message 'no.such.Message'"),
        ("protobuf:json.JSONDecoder", "there is no protobuf message 'json.JSONDecoder'"),
        (Packed, "it is no codec. Mend: give a name"),
        (3, "it is no codec"),
        (Later(), "its decode is no plain function. Mend: let it return what it makes, without `async`"),
        (Little(), "its decode is no plain function"),
        ({"CBOR/x": "cbor"}, "'CBOR/x' is no content type"),
        ({3: "cbor"}, "3 is no content type"),
        ({"a/b": 3}, "it is no codec"),
    ],
)
def test_a_route_of_a_codec_that_is_none_is_not_made(codec: Any, problem: str) -> None:
    with pytest.raises(RouteError, match=r"^tests/unit/test_payload_codecs\.py:\d+: route 'a': ") as raised:
        Router().on("a", nothing, codec=codec)
    assert problem in str(raised.value)
    assert len(NAMED) == 5


def test_an_answer_is_encoded_as_its_route_is() -> None:
    def answer(payload: Reading) -> Reading:
        return payload

    router = Router()
    router.on("cbor", answer, codec="cbor", reply=True)
    router.on("own", answer, codec={"a/b": Packed(), "application/cbor": "cbor"}, reply=True)
    (said,) = deliver(router, "cbor", cbor2.dumps({"temperature": 1}), response_topic="r").check().published
    assert cbor2.loads(said.payload) == {"temperature": 1.0, "at": None, "raw": ""}
    (said,) = deliver(router, "own", b"\0\1\0\0", response_topic="r", content_type="a/b").check().published
    assert said.payload == b"\0\1\0\0"


def test_a_browser_edits_what_a_codec_says_as_json() -> None:
    def store(payload: Reading) -> None:
        """Nothing."""

    router = Router()
    route = router.on("a", store, codec="cbor")

    def task(value: Any) -> TaskMessage:
        return TaskMessage(route="a", queue=route.queue, envelope=Envelope(topic="a", payload=cbor2.dumps(value)))

    found = decoded_payload(router, task({"temperature": "hot"}))
    assert found is not None
    assert (found.codec, found.json, found.problem) == ("CBOR", '{\n  "temperature": "hot"\n}', None)
    assert cbor2.loads(encoded(router, task({"temperature": "hot"}), '{"temperature": 21.5}')) == {"temperature": 21.5}
    assert check_payload(router, task({}), '{"temperature": 21.5}').problem is None
    assert check_payload(router, task({}), '{"temperature": "hot"}').problem == (
        "payload: temperature: Input should be a valid number, unable to parse string as a number"
    )
    for broken in ("{", "NaN"):
        assert str(check_payload(router, task({}), broken).problem).startswith("payload: cannot be encoded as CBOR: ")
    # JSON would make text of them.
    assert "JSON cannot hold" in str(check_payload(router, task({"raw": b""}), '{"raw": ""}').problem)
    assert decoded_payload(Router(), task({})) is None
    assert decoded_payload(router, task(1).edited(b"\xff")) is None
