"""Celery messages: read from list items as kombu reads them, quickly, and refused safely."""

import json
from typing import Any

import orjson
from kombu.utils.json import loads as kombu_loads

from routemq.mark import MEMBER, Mark
from routemq_transport.items import Item, MalformedItemError

_DIGITS_ALIKE = bytes(ord("0") if chr(byte).isdecimal() and byte < 128 else ord(" ") for byte in range(256))
_LONG_NUMBER = b"0" * 19
_REGISTERED_TYPE = b"__type__"
_BODY = b'{"body":"'


def loads_exactly(text: bytes) -> Any:
    """Decode JSON as kombu does, but quickly where that gives the same.

    Raises:
        ValueError, RecursionError: It is no JSON, or no JSON that Python reads.
    """
    # orjson makes floats of whole numbers beyond 64 bits, and does not know kombu's typed values. Neither can be within
    # the text that a list item begins with, its body, which is nearly all of a large one.
    unsure = text[text.find(b'"', len(_BODY)) :] if text.startswith(_BODY) else text
    if _REGISTERED_TYPE in unsure:
        return kombu_loads(text.decode())
    if _LONG_NUMBER not in unsure.translate(_DIGITS_ALIKE):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            # NaN, Infinity and deep nesting are refused by orjson and read by kombu.
            pass
    return json.loads(text)


def read_item(item: Item) -> tuple[dict[str, Any], Mark]:
    """Return the message, with the tag of this delivery in it, and its mark.

    Raises:
        MalformedItemError: It is no Celery message.
    """
    try:
        message = loads_exactly(item.raw)
    except (ValueError, RecursionError) as exc:
        raise MalformedItemError(problem=f"{type(exc).__name__}: {exc}") from exc
    if not isinstance(message, dict):
        raise MalformedItemError(problem=f"a JSON {type(message).__name__} instead of an object")
    properties, headers = message.get("properties"), message.get("headers")
    if not isinstance(properties, dict):
        raise MalformedItemError(problem="no object 'properties'")
    if headers is not None and not isinstance(headers, dict):
        raise MalformedItemError(problem="'headers' is no object")
    if not isinstance(message.get("body"), str):
        raise MalformedItemError(problem="no text 'body'")
    information = properties.get("delivery_info")
    if not isinstance(information, dict):
        information = properties["delivery_info"] = {"exchange": "", "routing_key": item.queue}
    properties["delivery_tag"] = item.tag
    try:
        mark = Mark.of(message.get(MEMBER))
    except ValueError as exc:
        raise MalformedItemError(problem=str(exc)) from exc
    if MEMBER in message:
        information["redelivered"] = True
        if headers is not None:
            headers["redelivered"] = True
    return message, mark
