"""What a payload is made of, whoever publishes it: a controller, a script, an answer, a test."""

from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from routemq.errors import PublishError
from routemq.text import error_line

Payload = bytes | str | int | float | dict[str, Any] | list[Any] | BaseModel


def publishable(topic: str, payload: object) -> bytes:
    """Return what is published of a payload: bytes and text as they are, anything else as JSON, by pydantic.

    Fields of models go by their aliases; NaN and infinity, which JSON has not, as null.

    Raises:
        PublishError: It cannot be encoded.
    """
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    # Nothing, or JSON's null? Who means one of them can say so.
    if payload is None:
        raise PublishError(topic=topic, problem="None is no payload; write b'' for an empty one, or 'null'")
    try:
        return payload.encode() if isinstance(payload, str) else json_bytes(payload)
    # Serializers of a model are the application's own.
    except Exception as exc:
        raise PublishError(topic=topic, problem=f"the payload cannot be encoded: {error_line(exc)}") from exc


def json_bytes(value: object) -> bytes:
    """Return a value as JSON; raises whatever its own serializers raise."""
    return to_json(value, inf_nan_mode="null")
