"""What a dead letter is."""

import hashlib
import math
import re
import uuid
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import orjson

from routemq.dead_letters.fingerprint import ErrorDescription, shortened
from routemq.envelope import TaskMessage
from routemq.errors import RouteMQError
from routemq.text import printable

Reason = Literal["invalid", "failed", "timeout", "poison", "malformed", "unroutable", "too_large", "rejected"]
REASONS: tuple[Reason, ...] = get_args(Reason)

_TOPIC_LENGTH = 65_535
# Of more digits Python makes no number, and an id comes from an address or a file as well.
_TEXTS = ("route", "queue", "reason", "exception", "fingerprint")
_PERHAPS_TEXTS = ("topic", "message", "traceback", "worker", "digest", "release")
_PERHAPS_NUMBERS = ("attempts", "payload_bytes")
_GENERATION = re.compile(r":([0-9]{1,9})(?:~[^:]*)?\Z")


class DamagedLetterError(RouteMQError):
    """What is kept of a letter is not what was written there: it stays where it is until somebody mends it."""

    def __init__(self, *, letter_id: str, problem: str) -> None:
        self.letter_id, self.problem = letter_id, problem
        super().__init__(f"the description of the dead letter {letter_id!r} cannot be read: {problem}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Why a message is dead; the message itself lies beside it, byte for byte.

    Attributes:
        id: `<task id>:<generation>`; with `~2`, `~3` … when another message had the same id.
        route: Name of the route.
        queue: Name of the queue it came from.
        reason: Why it was given up.
        topic: Topic name; None of a message that could not be read.
        exception: Class of the last error.
        message: Text of the last error.
        fingerprint: The same for the same mistake.
        traceback: Frames of the last error; not there in a listing.
        traceback_digest: Names the traceback, which is kept once for all letters that share it.
        attempts: Failed runs of this generation, the last one included.
        first_at: First failed run, Unix seconds; None when the first was the last.
        died_at: When Redis recorded it, Unix seconds; 0 before it is buried.
        worker: Where the last run was.
        payload_bytes: Size of the payload; None of a message that could not be read.
        digest: Tells a duplicate of the message from another one with the same id.
        redacted: Fields whose values were not kept.
        release: ROUTEMQ_RELEASE of the process that buried it; None where that is not set.
        damage: Why its description cannot be read, when somebody has written there; only its id and its time are known
            then, and `message` says so. It cannot be replayed.
    """

    id: str
    route: str
    queue: str
    reason: Reason
    topic: str | None
    exception: str
    message: str
    fingerprint: str
    traceback: str = ""
    traceback_digest: str | None = None
    attempts: int = 1
    first_at: float | None = None
    died_at: float = 0.0
    worker: str = ""
    payload_bytes: int | None = None
    digest: str | None = None
    redacted: tuple[str, ...] = ()
    release: str | None = None
    damage: str | None = None

    @classmethod
    def of(cls, message: TaskMessage, *, reason: Reason, error: BaseException, worker: str) -> "DeadLetter":
        """Describe a message whose present run was its last.

        Of a message that never ran, `attempts` is 1 all the same: the try to make it a task.
        """
        envelope = message.envelope
        content = envelope.topic.encode("utf-8", "replace") + b"\0" + envelope.payload
        return cls._described(
            ErrorDescription.of(error, topic=envelope.topic),
            id=letter_id(message.id, message.generation),
            route=message.route,
            queue=message.queue,
            reason=reason,
            topic=envelope.topic,
            attempts=message.retries + 1,
            first_at=message.failures[0].at if message.failures else None,
            worker=worker,
            payload_bytes=len(envelope.payload),
            digest=hashlib.sha1(content, usedforsecurity=False).hexdigest()[:16],
        )

    @classmethod
    def bare(
        cls,
        *,
        route: str,
        queue: str,
        message_id: str | None,
        error: BaseException | str,
        worker: str,
        generation: int = 0,
        reason: Reason = "malformed",
    ) -> "DeadLetter":
        """Describe what is no message of ours, or one that cannot be written down; without an id it gets one.

        Args:
            error: As a text, nothing else is kept of it.
        """
        return cls._described(
            ErrorDescription.of_line(error) if isinstance(error, str) else ErrorDescription.of(error),
            id=letter_id(message_id or str(uuid.uuid4()), generation),
            route=route,
            queue=queue,
            reason=reason,
            topic=None,
            worker=worker,
        )

    @classmethod
    def _described(cls, described: ErrorDescription, **known: Any) -> "DeadLetter":
        frames = described.traceback
        return cls(
            exception=described.exception,
            message=described.message,
            fingerprint=described.fingerprint,
            traceback=frames,
            traceback_digest=text_digest(frames) if frames else None,
            **known,
        )

    @property
    def task_id(self) -> str:
        """The Celery task id, the same through every retry and replay."""
        return self.id.rpartition(":")[0]

    @property
    def generation(self) -> int:
        """How often the message had been replayed before."""
        return generation_of(self.id)

    @property
    def error(self) -> str:
        """Class and text of the last error, in one printable line."""
        return printable(" ".join(f"{self.exception}: {self.message}".split()) if self.message else self.exception)

    def description(self) -> bytes:
        """Return what is kept in Redis: JSON without what has no value, and without what is kept beside it."""
        fields: dict[str, Any] = {
            "route": self.route,
            "queue": self.queue,
            "reason": self.reason,
            "topic": None if self.topic is None else shortened(self.topic, _TOPIC_LENGTH),
            "exception": self.exception,
            "message": self.message or None,
            "fingerprint": self.fingerprint,
            "traceback": self.traceback_digest,
            "attempts": self.attempts,
            "first_at": self.first_at,
            "worker": self.worker or None,
            "payload_bytes": self.payload_bytes,
            "digest": self.digest,
            "redacted": list(self.redacted) or None,
            "release": self.release,
        }
        return orjson.dumps({name: _clean(value) for name, value in fields.items() if value is not None})

    @classmethod
    def from_description(cls, letter_id: str, description: bytes, *, died_at: float) -> "DeadLetter":
        """Read what `description` wrote.

        Raises:
            DamagedLetterError: It did not write this.
        """
        fields = _fields(letter_id, description)
        return cls(
            id=letter_id,
            # JSON has no infinity, and a letter without a time could be exported and not be imported.
            died_at=died_at if math.isfinite(died_at) else 0.0,
            route=fields["route"],
            queue=fields["queue"],
            reason=fields["reason"],
            topic=fields.get("topic"),
            exception=fields["exception"],
            message=fields.get("message", ""),
            fingerprint=fields["fingerprint"],
            traceback_digest=fields.get("traceback"),
            attempts=fields.get("attempts", 1),
            first_at=fields.get("first_at"),
            worker=fields.get("worker", ""),
            payload_bytes=fields.get("payload_bytes"),
            digest=fields.get("digest"),
            redacted=tuple(fields.get("redacted", ())),
            release=fields.get("release"),
        )

    @classmethod
    def read(cls, letter_id: str, description: bytes, *, died_at: float) -> "DeadLetter":
        """Read whatever lies where a description should: one that is damaged must not hide the others."""
        try:
            return cls.from_description(letter_id, description, died_at=died_at)
        except DamagedLetterError as exc:
            return cls(
                id=letter_id,
                died_at=died_at,
                route="",
                queue="",
                reason="malformed",
                topic=None,
                exception=type(exc).__name__,
                message=f"its description cannot be read: {exc.problem}",
                fingerprint="",
                damage=exc.problem,
            )

    def with_traceback(self, text: str) -> "DeadLetter":
        """Return the letter with the frames that are kept beside it."""
        return replace(self, traceback=text)


def letter_id(task_id: str, generation: int) -> str:
    """Return the id of a message's dead letter: burying the same message twice makes one letter."""
    return f"{task_id}:{generation}"


def generation_of(name: str) -> int:
    """Return how often the message of a letter had been replayed before, by its id; 0 of what is no such id."""
    number = _GENERATION.search(name)
    return int(number[1]) if number else 0


def text_digest(text: str) -> str:
    """Return the name under which a traceback is kept."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:16]


def _fields(letter_id: str, description: bytes) -> dict[str, Any]:
    """Return the members of a description; those that `letters.lua` joins into names of keys are texts there too."""
    try:
        fields = orjson.loads(description)
    except orjson.JSONDecodeError as exc:
        raise DamagedLetterError(letter_id=letter_id, problem=f"no JSON: {exc.msg}") from exc
    if not isinstance(fields, dict):
        raise DamagedLetterError(letter_id=letter_id, problem="no JSON object")
    for name in _TEXTS:
        if not isinstance(fields.get(name), str):
            raise DamagedLetterError(letter_id=letter_id, problem=f"the field {name!r} is no text")
    for names, kinds, wanted in (
        (_PERHAPS_TEXTS, (str,), "text"),
        (_PERHAPS_NUMBERS, (int,), "whole number"),
        (("first_at",), (int, float), "time"),
    ):
        for name in names:
            value = fields.get(name)
            if name in fields and (not isinstance(value, kinds) or isinstance(value, bool)):
                raise DamagedLetterError(letter_id=letter_id, problem=f"the field {name!r} is no {wanted}")
    redacted = fields.get("redacted", [])
    if not isinstance(redacted, list) or not all(isinstance(each, str) for each in redacted):
        raise DamagedLetterError(letter_id=letter_id, problem="the field 'redacted' is no list of texts")
    return fields


def _clean(value: Any) -> Any:
    # A lone surrogate, which only an application can make, is no UTF-8 and would stop the burial.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def new_id() -> str:
    """Return a short id for an operation, good for typing."""
    return uuid.uuid4().hex[:8]
