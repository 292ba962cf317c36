"""Payloads that are not JSON: what decodes those of a route, and encodes them again."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pydantic

from routemq.envelope import Envelope
from routemq.errors import CodecError, InvalidMessageError
from routemq.interruptions import is_interruption
from routemq.message import Message
from routemq.named_codecs import Codec, JsonCodec, named_codec
from routemq.payloads import AnnotatedPayload, json_else_text_else_bytes, summary
from routemq.text import error_line

_CONTENT_TYPES = {
    "application/cbor": "cbor",
    "application/msgpack": "msgpack",
    "application/vnd.msgpack": "msgpack",
    "application/x-msgpack": "msgpack",
}
"""What is decoded without a word of the route, where the library for it is installed."""

_NOT_PLAIN = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
"""What is called returns nothing of the value yet."""


class RouteCodec:
    """The codec of a route: one for all of its messages, or one for each content type.

    Args:
        given: What the route says: a name, a codec, or a mapping of content types, `*` for all others, to these.

    Raises:
        CodecError: There is no such codec, or its library is not installed.
    """

    def __init__(self, given: object) -> None:
        self._codecs: dict[str, Codec] = {}
        if not isinstance(given, Mapping):
            self._codecs["*"] = _codec(given)
            return
        for content_type, each in given.items():
            if not (isinstance(content_type, str) and content_type == plain_type(content_type)):
                raise CodecError(
                    given=given,
                    problem=f"{content_type!r} is no content type",
                    mend="write it as in 'application/cbor', or '*'",
                )
            self._codecs[content_type] = _codec(each)

    @property
    def content_types(self) -> tuple[str, ...]:
        """What its payloads are, as far as it is known."""
        types = (getattr(codec, "content_type", None) if name == "*" else name for name, codec in self._codecs.items())
        return tuple(each for each in types if isinstance(each, str))

    @property
    def takes_json(self) -> bool:
        """Whether a payload without a content type is JSON."""
        return isinstance(self._codecs.get("*"), JsonCodec)

    def of(self, envelope: Envelope) -> Codec:
        """Return the codec for a message.

        Raises:
            InvalidMessageError: The route takes no such content type.
        """
        codecs, content_type = self._codecs, envelope.content_type
        found = codecs.get("*")
        if content_type and not (found is not None and len(codecs) == 1):
            found = codecs.get(plain_type(content_type), found)
        if found is None:
            told = "none" if content_type is None else repr(content_type[:100])
            raise InvalidMessageError(part="content type", problem=f"{told}; the route takes {', '.join(codecs)}")
        return found

    def decode(self, envelope: Envelope) -> Any:
        """Return what a message's payload says.

        Raises:
            InvalidMessageError: It does not decode.
        """
        return decoded(self.of(envelope), envelope.payload)


def decoded(codec: Codec, payload: bytes) -> Any:
    """Return what a payload says.

    Raises:
        InvalidMessageError: It does not decode.
    """
    try:
        return codec.decode(payload)
    # A library's, or the application's own code, given any bytes.
    except BaseException as exc:
        raise _no_payload(codec_name(codec), exc) from exc


def _no_payload(name: str, error: BaseException) -> InvalidMessageError:
    """Return an error of a payload that is not of a format, unless something else is to end the run."""
    if is_interruption(error):
        raise error
    return InvalidMessageError(part="payload", problem=f"not {name}: {error_line(error)}")


def encoded(codec: Codec, value: Any) -> bytes:
    """Return the payload that says a value.

    Raises:
        TypeError: The codec has made none of it.
        Exception: Whatever the codec raises.
    """
    # Typed in vain for users who do not check types.
    data: object = codec.encode(value)
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"encode of {codec_name(codec)} returned {type(data).__name__}, not bytes")
    return bytes(data)


def payload_reader(
    annotation: Any, codec: RouteCodec | None, adapt: Callable[[], pydantic.TypeAdapter[Any]]
) -> Callable[[Message], Any]:
    """Return what makes of a message what its controller gets for `payload`.

    Args:
        annotation: The controller's; None without one.
        codec: The route's.
        adapt: Returns pydantic's idea of the annotation.
    """
    parse = _protobuf_reader(annotation)
    if parse is None and codec is not None:
        parse = _decoded_reader(annotation, codec.decode, adapt)
    if parse is not None:
        return lambda message: parse(message.envelope)
    if annotation is bytes:
        return lambda message: message.payload
    if annotation is str:
        return Message.text
    by_type, plain = _decoded_reader(annotation, _decoded_by_type, adapt), _plain_reader(annotation, adapt)

    def read(message: Message) -> Any:
        content_type = message.envelope.content_type
        if content_type is None or codec_of(content_type) is None:
            return plain(message)
        return by_type(message.envelope)

    return read


def _plain_reader(annotation: Any, adapt: Callable[[], pydantic.TypeAdapter[Any]]) -> Callable[[Message], Any]:
    if annotation in (None, Any):
        return json_else_text_else_bytes
    fitting = AnnotatedPayload(adapt())
    return lambda message: fitting(message.payload)


def _decoded_reader(
    annotation: Any, decode: Callable[[Envelope], Any], adapt: Callable[[], pydantic.TypeAdapter[Any]]
) -> Callable[[Envelope], Any]:
    if annotation in (None, Any):
        return decode
    adapter = adapt()

    def read(envelope: Envelope) -> Any:
        value = decode(envelope)
        try:
            return adapter.validate_python(value)
        except pydantic.ValidationError as exc:
            raise InvalidMessageError(part="payload", problem=summary(exc)) from exc

    return read


def _protobuf_reader(annotation: Any) -> Callable[[Envelope], Any] | None:
    """Return what reads payloads as the protobuf class that a controller asks for; None for any other annotation."""
    if not (isinstance(annotation, type) and hasattr(annotation, "DESCRIPTOR") and hasattr(annotation, "FromString")):
        return None
    parse, name = annotation.FromString, annotation.DESCRIPTOR.full_name

    def fill(envelope: Envelope) -> Any:
        try:
            return parse(envelope.payload)
        # Google's exception is not imported for a route without protobuf.
        except BaseException as exc:
            raise _no_payload(f"protobuf {name}", exc) from exc

    return fill


def codec_name(codec: Codec) -> str:
    """Return what a codec is called in messages."""
    name = getattr(codec, "name", None)
    return name if isinstance(name, str) else type(codec).__name__


def plain_type(content_type: str) -> str:
    """Return a content type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


@functools.lru_cache(maxsize=64)
def codec_of(content_type: str) -> Codec | None:
    """Return the codec of a content type that says how it is encoded; None for others, and without its library."""
    name = _CONTENT_TYPES.get(plain_type(content_type))
    if name is None:
        return None
    try:
        return _codec(name)
    except CodecError:
        return None


def _codec(given: object) -> Codec:
    if isinstance(given, str):
        return named_codec(given)
    if isinstance(given, type) or not isinstance(given, Codec):
        raise CodecError(
            given=given,
            problem="it is no codec",
            mend='give a name, as "cbor", or an object with decode(payload) and encode(value)',
        )
    # Typed in vain for users who do not check types.
    methods: tuple[Any, ...] = (given.decode, given.encode)
    for method in methods:
        if not callable(method) or any(is_other(method) for is_other in _NOT_PLAIN):
            raise CodecError(
                given=given,
                problem=f"its {getattr(method, '__name__', 'decode or encode')} is no plain function",
                mend="let it return what it makes, without `async` and without `yield`",
            )
    return given


def _decoded_by_type(envelope: Envelope) -> Any:
    """Return what a payload says that has told how it is encoded; see `codec_of`.

    Raises:
        InvalidMessageError: It does not decode.
    """
    codec = codec_of(envelope.content_type or "")
    return envelope.payload if codec is None else decoded(codec, envelope.payload)
