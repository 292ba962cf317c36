"""What a test may say of a message that it delivers, beside topic and payload."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypedDict


class DeliveryOptions(TypedDict, total=False):
    """What else there is to say of a message.

    Attributes:
        route: Name of its route, where several take the topic.
        qos: QoS it was delivered with; 1 by default.
        retain: Whether it was a retained message.
        attempt: Which run of the message this is, from 1: a failure of the last one that its policy allows is final.
        generation: How often it was replayed from the dead letters.
        message_id: By default a new one.
        received_at: When ingest received it, Unix seconds; by default now.
        content_type: MQTT 5 property, as the next three.
    """

    route: str
    qos: int
    retain: bool
    attempt: int
    generation: int
    message_id: str
    received_at: float
    content_type: str
    response_topic: str
    correlation_data: bytes
    user_properties: Mapping[str, str] | Collection[tuple[str, str]]


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse what no message has: a test that says it would mean something else than its author does.

    Raises:
        TypeError: There is no such option, or its value is of another type.
        ValueError: Its value is impossible.
    """
    for name, value in options.items():
        if name not in _ALLOWED:
            raise TypeError(f"deliver has no option {name}=; there are {', '.join(f'{each}=' for each in _ALLOWED)}")
        kinds, is_possible, allowed = _ALLOWED[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError(f"{name}={value!r}: it is {allowed}")
        if not is_possible(value):
            raise ValueError(f"{name}={value!r}: it is {allowed}")


def _is_utf8(value: str | None) -> bool:
    return value is None or value.isascii() or value == value.encode(errors="replace").decode()


def _are_pairs(value: Any) -> bool:
    pairs = value.items() if isinstance(value, Mapping) else value
    return all(
        isinstance(pair, tuple | list)
        and len(pair) == 2
        and all(isinstance(each, str) and _is_utf8(each) for each in pair)
        for pair in pairs
    )


def _is_any(_value: object) -> bool:
    return True


_TEXT = ((str, type(None)), _is_utf8, "text of UTF-8, or None")
_ALLOWED: dict[str, tuple[tuple[type, ...], Callable[[Any], bool], str]] = {
    "route": ((str, type(None)), _is_any, "the name of a route, or None"),
    "qos": ((int,), lambda value: value in (0, 1, 2), "0, 1 or 2"),
    "retain": ((bool,), _is_any, "True or False"),
    "attempt": ((int,), lambda value: value >= 1, "a whole number; the first run is 1"),
    "generation": ((int,), lambda value: value >= 0, "a whole number from 0"),
    "message_id": _TEXT,
    "received_at": ((int, float), lambda value: 0 <= value < float("inf"), "Unix seconds"),
    "content_type": _TEXT,
    "response_topic": _TEXT,
    "correlation_data": ((bytes, type(None)), _is_any, "bytes, or None"),
    "user_properties": (
        (Collection,),
        _are_pairs,
        "a mapping, or pairs, of names and values, all text of UTF-8",
    ),
}
