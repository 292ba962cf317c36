"""A payload of a route's codec as people read and edit it: as JSON."""

from dataclasses import dataclass
from typing import Any

import orjson
from pydantic_core import from_json, to_jsonable_python

from routemq.envelope import TaskMessage
from routemq.errors import InvalidMessageError
from routemq.interruptions import is_interruption
from routemq.named_codecs import Codec
from routemq.payload_codecs import codec_name, codec_of, decoded, encoded
from routemq.routing import Router
from routemq.text import error_text

_MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedPayload:
    """What a payload says.

    Attributes:
        codec: What it is called.
        json: As indented JSON; bytes are base64.
        problem: Why it cannot be edited as JSON, None when it can: JSON would change what it says.
    """

    codec: str
    json: str
    problem: str | None
    _codec: Codec

    def encode(self, text: str) -> bytes:
        """Return the payload that says this JSON.

        Raises:
            InvalidMessageError: It is no JSON, or the codec cannot say it.
        """
        try:
            return encoded(self._codec, from_json(text, allow_inf_nan=False))
        # A library's, or the application's own code, given any value.
        except BaseException as exc:
            if is_interruption(exc):
                raise
            problem = f"cannot be encoded as {self.codec}: {error_text(exc)}"
            raise InvalidMessageError(part="payload", problem=problem) from exc


def decoded_payload(router: Router, task: TaskMessage) -> DecodedPayload | None:
    """Return what a message's payload says, by the codec of its route or content type; None where that is nothing."""
    envelope = task.envelope
    route = router.find(task.route, topic=envelope.topic, queue=task.queue)
    if len(envelope.payload) > _MOST_BYTES:
        return None
    try:
        if route is not None and route.codec is not None:
            codec: Codec | None = route.codec.of(envelope)
        else:
            codec = codec_of(envelope.content_type or "")
        if codec is None:
            return None
        value = decoded(codec, envelope.payload)
        plain = to_jsonable_python(value, bytes_mode="base64", fallback=repr)
        shown = orjson.dumps(plain, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()
    # What died of its payload is shown as its bytes; a codec is the application's code.
    except BaseException as exc:
        if is_interruption(exc):
            raise
        return None
    name, problem = codec_name(codec), None
    if not _says_the_same(codec, value, plain):
        problem = f"JSON cannot hold all that this {name} says, such as bytes or times"
    return DecodedPayload(codec=name, json=shown, problem=problem, _codec=codec)


def _says_the_same(codec: Codec, value: Any, plain: Any) -> bool:
    try:
        return bool(plain == value and codec.decode(codec.encode(plain)) == value)
    # As above.
    except BaseException as exc:
        if is_interruption(exc):
            raise
        return False
