"""Which dead letters: the filter of every command and page."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import orjson

from routemq.dead_letters.letter import REASONS, DeadLetter, Reason
from routemq.dead_letters.times import TimeError, moment, read_moment
from routemq.envelope import TaskMessage, body_of
from routemq.errors import RouteMQError
from routemq.topics import TopicTemplate

CRITERIA = ("route", "queue", "reason", "error", "topic", "device", "since", "until", "contains")
"""What a filter may ask for, by the names of its attributes."""

_TIMES = ("since", "until")

_FINGERPRINT = re.compile(r"[0-9a-f]{12}")

_PART_OF_TOPIC = "~"

_PLAIN = re.compile(r"[A-Za-z0-9 .,:_+-]+")
"""Words that JSON writes as they are."""


def _surely_lacks(item: bytes, words: bytes) -> bool:
    """Whether a message's body shows, before it is decoded as a message, that its payload has no such words.

    Never of a payload that is no text, nor of letters whose lower case only Unicode knows.
    """
    try:
        body = body_of(orjson.loads(item)["body"])
    except (ValueError, TypeError, LookupError, AttributeError):
        return False
    is_plain = body.isascii() and b"\\u" not in body and b'"payload":' in body and b'"payload_base64"' not in body
    return is_plain and words not in body.lower()


class LetterFilterError(RouteMQError):
    """A criterion of a filter has a value that no letter could have, or that nobody can have meant."""

    def __init__(self, *, name: str, value: object, allowed: str) -> None:
        self.name, self.value, self.allowed = name, value, allowed
        shown = value if isinstance(value, str) and value.strip() else repr(value)
        super().__init__(f"{name}={shown[:100]}{'…' if len(shown) > 100 else ''} cannot be used: {allowed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """What letters have in common; None stands for anything, and a value that is empty for nothing: it is refused.

    An unset variable in a command, or an empty field in a request, would otherwise stand for every letter there is.

    Attributes:
        route: Name of the route; indexed, as are reason, fingerprint, since and until.
        queue: Name of the queue they came from.
        reason: Why they were given up.
        error: A fingerprint, or words of the error's class or text in either case.
        topic: An MQTT topic filter, such as `sensors/+/data`, or a topic template. After `~`, a part of the
            topic in either case: never without the sign, because who discards `alerts` means that topic alone.
        device: A level of the topic.
        since: Died at or after this, Unix seconds.
        until: Died before this, Unix seconds.
        contains: Words of the payload in either case.

    Raises:
        LetterFilterError: A value is empty or of another type.
        TopicTemplateError: `topic` is no topic filter.
    """

    route: str | None = None
    queue: str | None = None
    reason: Reason | None = None
    error: str | None = None
    topic: str | None = None
    device: str | None = None
    since: float | None = None
    until: float | None = None
    contains: str | None = None
    _template: TopicTemplate | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value in self.criteria().items():
            if name not in _TIMES:
                if not isinstance(value, str) or not value.strip():
                    raise LetterFilterError(name=name, value=value, allowed="a text that is not empty")
            elif isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise LetterFilterError(name=name, value=value, allowed="Unix seconds")
        if self.reason is not None and self.reason not in REASONS:
            raise LetterFilterError(name="reason", value=self.reason, allowed=f"one of {', '.join(REASONS)}")
        if self.topic is not None and self._topic_part == "":
            raise LetterFilterError(name="topic", value=self.topic, allowed="after ~ a part of the topic")
        is_bare = self.topic is None or self._topic_part is not None
        object.__setattr__(self, "_template", None if is_bare else TopicTemplate(str(self.topic)))

    @classmethod
    def of(cls, wanted: Mapping[str, object], *, now: float) -> "LetterFilter":
        """Read what a person or a program asks for; what is not among it stands for anything.

        Args:
            wanted: By the names of the attributes; times as `read_moment` reads them, also as numbers.
            now: Unix seconds.

        Raises:
            LetterFilterError: A name is unknown, or a value is null, empty or of another type.
            TopicTemplateError: `topic` is no topic filter.
        """
        values: dict[str, Any] = dict(wanted)
        for name, value in values.items():
            if name not in CRITERIA:
                # A criterion that is spelled wrongly must not become a filter without it.
                raise LetterFilterError(name="filter", value=name, allowed=f"any of {', '.join(CRITERIA)}")
            if value is None:
                raise LetterFilterError(name=name, value=value, allowed="a value; leave it out for any")
            if name in _TIMES and isinstance(value, (str, int, float)) and not isinstance(value, bool):
                try:
                    values[name] = read_moment(str(value), now=now)
                except TimeError as exc:
                    raise LetterFilterError(name=name, value=value, allowed=exc.allowed) from exc
        return cls(**values)

    @property
    def fingerprint(self) -> str | None:
        """The error, if it is a fingerprint."""
        return self.error if self.error and _FINGERPRINT.fullmatch(self.error) else None

    @property
    def is_indexed(self) -> bool:
        """Whether Redis' indexes alone say which letters match."""
        beyond = (self.queue, self.topic, self.device, self.contains)
        needs_reason_too = self.reason is not None and self.fingerprint is not None
        return not any(beyond) and not needs_reason_too and (self.error is None or self.fingerprint is not None)

    @property
    def indexed_part(self) -> "LetterFilter":
        """What the indexes alone can tell of it: every letter that matches, matches this as well."""
        return LetterFilter(
            route=self.route,
            reason=None if self.fingerprint else self.reason,
            error=self.fingerprint,
            since=self.since,
            until=self.until,
        )

    @property
    def is_of_all_times(self) -> bool:
        """Whether it leaves nothing out for its time."""
        return self.since is None and self.until is None

    @property
    def is_empty(self) -> bool:
        """Whether every letter matches."""
        return not self.criteria()

    def matches(self, letter: DeadLetter) -> bool:
        """Say whether a letter matches in all that its description tells."""
        return (
            (self.route is None or letter.route == self.route)
            and (self.queue is None or letter.queue == self.queue)
            and (self.reason is None or letter.reason == self.reason)
            and (self.since is None or letter.died_at >= self.since)
            and (self.until is None or letter.died_at < self.until)
            and self._has_error(letter)
            and self._has_topic(letter.topic)
        )

    def matches_payload(self, item: bytes) -> bool:
        """Say whether the payload of a list item has the words; of an unreadable message, whether its bytes have."""
        if not self.contains:
            return True
        if _PLAIN.fullmatch(self.contains) and _surely_lacks(item, self.contains.lower().encode()):
            return False
        try:
            payload = TaskMessage.decode(item).envelope.payload
        # Whatever lies there is a letter all the same, and its bytes can be searched.
        except Exception:  # noqa: BLE001
            payload = item
        return self.contains.lower() in payload.decode("utf-8", "replace").lower()

    def _has_error(self, letter: DeadLetter) -> bool:
        if self.error is None or letter.fingerprint == self.error:
            return True
        return self.fingerprint is None and self.error.lower() in letter.error.lower()

    def _has_topic(self, topic: str | None) -> bool:
        if self.topic is None and self.device is None:
            return True
        if topic is None:
            return False
        fits = self._template is None or self._template.match(topic) is not None
        has_part = self._topic_part is None or self._topic_part in topic.lower()
        return fits and has_part and (self.device is None or self.device in topic.split("/"))

    @property
    def _topic_part(self) -> str | None:
        if self.topic is None or not self.topic.startswith(_PART_OF_TOPIC):
            return None
        return self.topic.removeprefix(_PART_OF_TOPIC).strip().lower()

    def criteria(self) -> dict[str, Any]:
        """Return what the filter asks for."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.init}
        return {name: value for name, value in values.items() if value is not None}

    def __str__(self) -> str:
        shown = self.criteria()
        for name in _TIMES:
            if name in shown:
                shown[name] = moment(shown[name])
        return " ".join(f"{name}={value}" for name, value in shown.items()) or "all"
