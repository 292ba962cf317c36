"""The codecs that a route can name; each imports its library when a route does."""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from io import BytesIO
from typing import Any, Protocol, runtime_checkable

from pydantic_core import from_json, to_json

from routemq.errors import CodecError, NamedCodeError
from routemq.named_code import named

NAMED = ("json", "cbor", "msgpack", "protobuf:package.module.Message", "sparkplug")
"""What `codec=` takes for a name; the extras of the package have the same."""


_MOST_DEPTH = 100
_MOST_BITS = 4096
_MOST_EXPONENT = 1000
_SCALARS = (str, bytes, bool, float, dt.date, type(None))


@runtime_checkable
class Codec(Protocol):
    """Decodes and encodes payloads; an application may have its own, with a `name` if it likes."""

    def decode(self, payload: bytes) -> Any:
        """Return what a payload says, as a model can be validated from: dicts, lists, numbers, text, bytes.

        Whatever it raises, the message is a dead letter, reason `invalid`.
        """

    def encode(self, value: Any) -> bytes:
        """Return the payload of such a value."""


def named_codec(name: str) -> Codec:
    """Return the codec of a name.

    Raises:
        CodecError: There is none, or its library is not installed.
    """
    kind, colon, path = name.partition(":")
    try:
        if name == "json":
            return JsonCodec()
        if name == "cbor":
            return CborCodec()
        if name == "msgpack":
            return MsgpackCodec()
        if name == "sparkplug":
            from routemq.sparkplug import SparkplugCodec

            return SparkplugCodec()
        if kind == "protobuf" and colon:
            return ProtobufCodec(_message_class(name, path))
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in ("cbor2", "msgpack", "google"):
            raise
        raise CodecError(
            given=name, problem=f"{exc.name} is not installed", mend=f"pip install 'routemq-celery[{kind}]'"
        ) from exc
    raise CodecError(given=name, problem="there is no such codec", mend=f"the names are {', '.join(NAMED)}")


class JsonCodec:
    """JSON and nothing else, for one content type among others."""

    name, content_type = "JSON", "application/json"

    def decode(self, payload: bytes) -> Any:
        """Return what it says."""
        return from_json(payload, allow_inf_nan=False)

    def encode(self, value: Any) -> bytes:
        """Return it as JSON."""
        return to_json(value, inf_nan_mode="null")


class CborCodec:
    """CBOR (RFC 8949), as one data item."""

    name, content_type = "CBOR", "application/cbor"

    def __init__(self) -> None:
        import cbor2

        self._cbor2 = cbor2

    def decode(self, payload: bytes) -> Any:
        """Return what it says; tags that are known become Python's types, others stay tags."""
        stream = BytesIO(payload)
        value = self._cbor2.load(stream)
        if stream.tell() != len(payload):
            raise ValueError(f"{len(payload) - stream.tell()} bytes after its end")
        return _checked(value, len(payload), tags=(self._cbor2.CBORTag,))

    def encode(self, value: Any) -> bytes:
        """Return it as CBOR."""
        data: bytes = self._cbor2.dumps(value)
        return data


class MsgpackCodec:
    """MessagePack, as one object; timestamps are datetimes in UTC."""

    name, content_type = "MessagePack", "application/msgpack"

    def __init__(self) -> None:
        import msgpack

        self._msgpack = msgpack

    def decode(self, payload: bytes) -> Any:
        """Return what it says."""
        return _checked(self._msgpack.unpackb(payload, timestamp=3, strict_map_key=False), len(payload))

    def encode(self, value: Any) -> bytes:
        """Return it as MessagePack."""
        packed: bytes = self._msgpack.packb(value, datetime=True)
        return packed


class ProtobufCodec:
    """One protobuf message; its fields by their names, with those that were not sent, as protobuf's JSON has them.

    So bytes are base64, and whole numbers of 64 bits are text, which a model's `int` takes.
    """

    content_type = "application/x-protobuf"

    def __init__(self, message: Any) -> None:
        from google.protobuf import json_format

        self._message, self._format = message, json_format
        self.name = f"protobuf {message.DESCRIPTOR.full_name}"

    def decode(self, payload: bytes) -> Any:
        """Return its fields."""
        return self._format.MessageToDict(
            self._message.FromString(payload),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )

    def encode(self, value: Any) -> bytes:
        """Return a message, or its fields, as protobuf."""
        message = value if isinstance(value, self._message) else self._format.ParseDict(value, self._message())
        data: bytes = message.SerializeToString()
        return data


def _message_class(name: str, path: str) -> Any:
    from google.protobuf import descriptor_pool, message, message_factory

    module, _, attribute = path.replace(":", ".").rpartition(".")
    try:
        found: Any = named(f"{module}:{attribute}") if module else None
    except NamedCodeError as exc:
        missing = exc.__cause__
        is_elsewhere = isinstance(missing, ModuleNotFoundError) and f"{module}.".startswith(f"{missing.name}.")
        if not (is_elsewhere or isinstance(missing, AttributeError)):
            raise CodecError(given=name, problem=exc.problem, mend=exc.mend) from exc
        found = None
    if found is None:
        try:
            # By its own full name, if its module was imported.
            descriptor = descriptor_pool.Default().FindMessageTypeByName(path)
            found = message_factory.GetMessageClass(descriptor)
        except KeyError:
            found = None
    if not (isinstance(found, type) and issubclass(found, message.Message)):
        raise CodecError(
            given=name,
            problem=f"there is no protobuf message {path!r}",
            mend="write 'protobuf:package.module_pb2.Message', the class that protoc has made",
        )
    return found


def _checked(value: Any, size_bytes: int, *, tags: tuple[Any, ...] = ()) -> Any:
    """Return a value that takes its reader no more than its size promises.

    What is shared within it, or is within itself, is walked for each way to it: a few bytes are then a billion values.

    Args:
        tags: Classes of what holds another value as its `value`.

    Raises:
        ValueError: It does.
    """
    level, depth, count = [value], 0, 0
    while level:
        depth += 1
        following: list[Any] = []
        for each in level:
            count += 1
            if isinstance(each, Mapping):
                following += each.keys()
                following += each.values()
            elif isinstance(each, list | tuple | set | frozenset):
                following += each
            elif isinstance(each, tags):
                following.append(each.value)
            elif not isinstance(each, _SCALARS) and (problem := _number_problem(each)):
                raise ValueError(problem)
        if depth > _MOST_DEPTH:
            raise ValueError(f"more than {_MOST_DEPTH} levels deep")
        # Each value took a byte at least; more than that are shared.
        if count + len(following) > size_bytes + _MOST_DEPTH:
            raise ValueError("more values than bytes: parts of it are shared")
        level = following
    return value


def _number_problem(value: Any) -> str | None:
    if isinstance(value, int):
        return f"a number of more than {_MOST_BITS} bits" if value.bit_length() > _MOST_BITS else None
    if isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) > _MOST_EXPONENT:
        return f"a number with an exponent beyond {_MOST_EXPONENT}"
    return None
