"""Which dead letters: the filter of every command and page."""

import base64
import re
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

import orjson

from routemq.dead_letters.letter import DeadLetter, Reason
from routemq.envelope import TaskMessage
from routemq.topics import TopicTemplate

_FINGERPRINT = re.compile(r"[0-9a-f]{12}")

_PLAIN = re.compile(r"[A-Za-z0-9 .,:_+-]+")
"""Words that JSON writes as they are."""


def _surely_lacks(item: bytes, words: bytes) -> bool:
    """Whether a message's body shows, before it is decoded as a message, that its payload has no such words.

    Never of a payload that is no text, nor of letters whose lower case only Unicode knows.
    """
    try:
        body = base64.b64decode(orjson.loads(item)["body"])
    except (ValueError, TypeError, LookupError):
        return False
    is_plain = body.isascii() and b"\\u" not in body and b'"payload":' in body and b'"payload_base64"' not in body
    return is_plain and words not in body.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """What letters have in common; None stands for anything.

    Attributes:
        route: Name of the route; indexed, as are reason, fingerprint, since and until.
        queue: Name of the queue they came from.
        reason: Why they were given up.
        error: A fingerprint, or words of the error's class or text in either case.
        topic: An MQTT topic filter, such as `sensors/+/data`, or a topic template.
        device: A level of the topic.
        since: Died at or after this, Unix seconds.
        until: Died before this, Unix seconds.
        contains: Words of the payload in either case.

    Raises:
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
        object.__setattr__(self, "_template", TopicTemplate(self.topic) if self.topic else None)

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
        if self._template is None and self.device is None:
            return True
        if topic is None:
            return False
        fits = self._template is None or self._template.match(topic) is not None
        return fits and (self.device is None or self.device in topic.split("/"))

    def criteria(self) -> dict[str, Any]:
        """Return what the filter asks for."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.init}
        return {name: value for name, value in values.items() if value is not None}

    def __str__(self) -> str:
        shown = self.criteria()
        for name in ("since", "until"):
            if name in shown:
                shown[name] = datetime.fromtimestamp(shown[name]).astimezone().isoformat(" ", "seconds")
        return " ".join(f"{name}={value}" for name, value in shown.items()) or "all"
