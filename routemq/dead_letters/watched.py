"""Messages that were replayed, as far as somebody may want to know what becomes of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import orjson
import redis

from routemq.dead_letters.audit import Operation
from routemq.dead_letters.letter import DeadLetter, generation_of, letter_id
from routemq.lifecycle.scripts import KeyReports
from routemq.queues import Keys

MOST_NOTES = 50_000
"""Messages of all replays: each costs a note in Redis."""

_PENDING_S = 6 * 3600
"""While a note is pending, every message that is done is compared with it."""

_CHUNK = 1000
_REPORTS = KeyReports()
_STATES: dict[str, Literal["done", "died"]] = {"done": "done", "died": "died"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What is known of a message that was replayed.

    Attributes:
        at: When it was done or dead again, Unix seconds; None of one that is pending, or where that is not known.
        by: Who replayed it; empty where that is not known, as is `operation`.
        sent_at: When, Unix seconds.
        is_of_many: Whether the operation replayed many letters, and has a page of its own.
        queue: Where it went.
    """

    state: Literal["pending", "done", "died"]
    at: float | None = None
    by: str = ""
    sent_at: float | None = None
    operation: str = ""
    is_of_many: bool = False
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class WatchedMessages:
    """The notes, by the letters whose messages they are about.

    Who replays writes what is pending, before it is replayed. The scripts that end a message's life, `acknowledge.lua`
    and `bury.lua`, move its note to what is known: so nobody pays for what is pending longer than it is.
    """

    client: "redis.Redis"
    keys: Keys

    def watch(
        self,
        letter_ids: Sequence[str],
        operation: Operation,
        *,
        now: float,
        is_of_many: bool,
        to_queue: str | None,
        needs_all: bool = False,
    ) -> Sequence[str]:
        """Watch what these letters become when they are replayed; returns those there was room for.

        Args:
            to_queue: Where they go, if not to their own queues.
            needs_all: Watch all of them, whatever room there is.
        """
        pipe = self.client.pipeline(transaction=False)
        pipe.hlen(self.keys.dead_canaries)
        pipe.hlen(self.keys.dead_outcomes)
        room = max(0, MOST_NOTES - sum(pipe.execute()))
        some = letter_ids if needs_all else letter_ids[:room]
        if some:
            letters = cast("list[bytes | None]", self.client.hmget(self.keys.dead_entries, list(some)))
            notes = {
                next_run(name): orjson.dumps(
                    [operation.actor, now, operation.id, is_of_many, to_queue or _queue(name, letter)]
                )
                for name, letter in zip(some, letters, strict=True)
            }
            pipe = self.client.pipeline()
            pipe.hset(self.keys.dead_canaries, mapping=cast("dict[Any, Any]", notes))
            pipe.expire(self.keys.dead_canaries, _PENDING_S)
            pipe.execute()
        return some

    def leave_out(self, letter_ids: Sequence[str], operation: Operation) -> None:
        """Watch no longer what this operation has not replayed after all; another one may have."""
        notes = zip(letter_ids, self.notes(letter_ids), strict=True)
        ours = [name for name, note in notes if note is not None and note.operation == operation.id]
        self._forget(self.keys.dead_canaries, ours)

    def forget(self, letter_ids: Sequence[str]) -> None:
        """Forget what is known, where it is kept otherwise."""
        self._forget(self.keys.dead_outcomes, letter_ids)
        self._forget(self.keys.dead_canaries, letter_ids)

    def notes(self, letter_ids: Sequence[str]) -> Iterator[Note | None]:
        """Yield what is known of the message that each letter became; None when nothing is.

        Another program's key under the name of theirs is reported, and hides nothing else.
        """
        for first in range(0, len(letter_ids), _CHUNK):
            runs = [next_run(name) for name in letter_ids[first : first + _CHUNK]]
            pipe = self.client.pipeline(transaction=False)
            pipe.hmget(self.keys.dead_canaries, runs)
            pipe.hmget(self.keys.dead_outcomes, runs)
            answers = _REPORTS.good(pipe.execute(raise_on_error=False), [None] * len(runs))
            for pending, known in zip(*answers, strict=True):
                yield _read(pending, known)

    def _forget(self, key: str, letter_ids: Sequence[str]) -> None:
        for first in range(0, len(letter_ids), _CHUNK):
            self.client.hdel(key, *map(next_run, letter_ids[first : first + _CHUNK]))


def next_letter(name: str) -> str:
    """Return the letter that the message of this one becomes when it is replayed and dies again."""
    return letter_id(name.rpartition(":")[0], generation_of(name) + 1)


def next_run(name: str) -> str:
    """Return how delivery tags of the message begin that this letter becomes when it is replayed."""
    return run_before(next_letter(name))


def run_before(name: str) -> str:
    """Return how delivery tags of the message begin that would become this letter when it died."""
    return f"{name.rpartition(':')[0]}.{generation_of(name)}"


def _read(pending: bytes | None, known: bytes | None) -> Note | None:
    latest = None
    # A worker of an earlier release notes it there.
    if pending == b"done":
        latest = Note(state="done")
    elif pending is not None:
        latest = Note(state="pending", **_sent(pending.decode("utf-8", "replace")))
    if known is None:
        return latest
    state, _, rest = known.decode("utf-8", "replace").partition(" ")
    at, _, sent = rest.partition(" ")
    if state not in _STATES:
        return latest
    note = Note(state=_STATES[state], at=_number(at), **_sent(sent))
    # A letter that came back from a file may be replayed once more; of one replay two processes may write what is
    # pending, the slower one when it is known.
    return note if latest is None or latest.operation == note.operation else latest


def _sent(text: str) -> dict[str, Any]:
    """Read who replayed it; nothing of a note that an earlier release wrote."""
    try:
        by, at, operation, is_of_many, queue = orjson.loads(text)
    except (ValueError, TypeError):
        return {}
    known = {"by": str(by), "sent_at": _number(at), "operation": str(operation), "is_of_many": bool(is_of_many)}
    return known | {"queue": None if queue is None else str(queue)}


def _queue(name: str, description: bytes | None) -> str | None:
    return None if description is None else DeadLetter.read(name, description, died_at=0.0).queue or None


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]  # whatever it is
    except (ValueError, TypeError):
        return None
