"""What is going to be run again and when, and what is set aside with a paused route: read, never touched."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import orjson
import redis

from routemq.lifecycle.moves import SET_ASIDE_S
from routemq.lifecycle.scripts import UnusableKeyError, script_text
from routemq.queues import Keys, lists_of
from routemq.text import printable

_READ = script_text("waiting", package="routemq")
_AT_ONCE = 500
_MOST_BYTES_AT_ONCE = 8 * 1024 * 1024
"""Nobody else is answered meanwhile."""
_MOST_LOOKED_AT = 20_000
_MOST_BYTES = 64 * 1024 * 1024
_MOST_HEADERS_BYTES = 64 * 1024

Kind = Literal["later", "aside"]
"""What waits for its time; what waits until its route is resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingMessage:
    """One that waits. Every text is printable.

    Attributes:
        queue: Where it goes then.
        due_at: When that is, Unix seconds; None of one that is set aside.
        aside_since: Since when it is set aside.
        route: Empty, likewise what follows, of what cannot be read.
        id: Celery's task id.
        about: Its topic and the size of its payload.
        attempts: Failed runs; 0 of what waits for another reason: given back, or sent for later.
        error: What the last failed run said, in one line.
        failed_at: When that was, Unix seconds.
        worker: Where.
    """

    queue: str
    due_at: float | None
    aside_since: float | None
    route: str = ""
    id: str = ""
    about: str = ""
    attempts: int = 0
    error: str = ""
    failed_at: float | None = None
    worker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingReading:
    """What was found.

    Attributes:
        messages: Those that are due first, or were set aside first, the next one first.
        later: How many wait for their time, of all routes on the queues; likewise `aside`.
        looked_at: How many of a kind were looked at for `messages`; with a route, others may be among the rest.
        now: Unix seconds by Redis' clock.
        problems: Why some of it could not be read: another program's keys. What waits there is in no number.
    """

    messages: tuple[WaitingMessage, ...]
    later: int
    aside: int
    looked_at: int
    now: float
    problems: tuple[str, ...] = ()

    def is_whole(self, kind: Kind) -> bool:
        """Return whether all of a kind that can be read were looked at."""
        return self.looked_at >= (self.later if kind == "later" else self.aside)


def read_waiting(
    client: "redis.Redis", keys: Keys, queues: Iterable[str], *, kind: Kind, most: int, route: str | None = None
) -> WaitingReading:
    """Return the first messages of a kind, on all of these queues, or those of one route.

    Looks at 20,000 messages and 64 MiB at most. What moves on meanwhile may be missed, or told although it is gone.

    Raises:
        redis.RedisError: Redis cannot be read.
    """
    names = [(queue, keys.delayed(name)) for queue in queues for name in lists_of(queue)]
    with client.pipeline(transaction=False) as pipe:
        pipe.time()
        for _, key in names:
            pipe.zcard(key)
            pipe.zcount(key, SET_ASIDE_S, "+inf")
        answers = pipe.execute(raise_on_error=False)
    problems = {answer.key: str(answer) for answer in answers if isinstance(answer, UnusableKeyError)}
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, UnusableKeyError):
            raise answer
    # TIME is of no key.
    seconds, microseconds = answers[0]
    counts = [0 if isinstance(answer, UnusableKeyError) else answer for answer in answers[1:]]
    sizes = [(all_ - aside, aside) for all_, aside in zip(counts[::2], counts[1::2], strict=True)]
    found: list[WaitingMessage] = []
    looked_at, wanted = 0, printable(route or "")
    filled = [(name, size) for name, size in zip(names, sizes, strict=True) if size[kind == "aside"]]
    for place, ((queue, key), (later, aside)) in enumerate(filled):
        share = len(filled) - place
        first, count = (0, later) if kind == "later" else (later, aside)
        bounds = (_MOST_LOOKED_AT - looked_at) // share, _MOST_BYTES // len(filled)
        of_queue: list[WaitingMessage] = []
        try:
            for item, score in _items(client, key, first, min(count, bounds[0]), most_bytes=bounds[1]):
                looked_at += 1
                message = _message(queue, item, score)
                if route is None or message.route == wanted:
                    of_queue.append(message)
                if len(of_queue) >= most:
                    break
        # It has become another program's meanwhile.
        except UnusableKeyError as exc:
            problems[exc.key] = str(exc)
        found += of_queue
    found.sort(key=lambda message: message.due_at or message.aside_since or 0.0)
    return WaitingReading(
        messages=tuple(found[:most]),
        later=sum(later for later, _ in sizes),
        aside=sum(aside for _, aside in sizes),
        looked_at=looked_at,
        now=seconds + microseconds / 1_000_000,
        problems=tuple(problems.values()),
    )


def _items(
    client: "redis.Redis", key: str, first: int, count: int, *, most_bytes: int
) -> Iterator[tuple[bytes, float]]:
    rank, read_bytes = first, 0
    while rank < first + count and read_bytes < most_bytes:
        args = (rank, min(_AT_ONCE, first + count - rank), _MOST_BYTES_AT_ONCE, _MOST_HEADERS_BYTES)
        answer = cast("Sequence[bytes]", client.eval(_READ, 1, key, *args))
        if not answer:
            return
        rank += len(answer) // 2
        read_bytes += _MOST_BYTES_AT_ONCE if len(answer) // 2 < args[1] else 0
        for score, item in zip(answer[::2], answer[1::2], strict=True):
            yield item, float(score)


def _message(queue: str, item: bytes, score: float) -> WaitingMessage:
    is_aside = score >= SET_ASIDE_S
    times: dict[str, Any] = {
        "queue": queue,
        "due_at": None if is_aside else _finite(score),
        "aside_since": _finite(score - SET_ASIDE_S) if is_aside else None,
    }
    try:
        headers = orjson.loads(item)["headers"]
        own = headers.get("routemq") or {}
        failures = own.get("failures") or ()
        at, error, worker = failures[-1] if failures else (None, "", "")
        retries = headers.get("retries")
        return WaitingMessage(
            **times,
            route=printable(headers["task"]),
            id=printable(headers["id"]),
            about=_about(headers.get("argsrepr")),
            attempts=retries if type(retries) is int else 0,
            error=printable(error),
            failed_at=None if at is None else _finite(float(at)),
            worker=printable(worker),
        )
    # Anybody may have put it there.
    except (orjson.JSONDecodeError, AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError):
        return WaitingMessage(**times)


def _finite(number: float) -> float | None:
    """Return a number that JSON has a word for."""
    return number if math.isfinite(number) else None


def _about(argsrepr: object) -> str:
    text = argsrepr if isinstance(argsrepr, str) else ""
    return printable(text[1:-1] if text.startswith("(") and text.endswith(")") else text)
