"""The fetch, on a connection that an event loop polls: sent in one turn, read in a later one."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import redis

from routemq.lifecycle.moves import Alone, FetchCommand
from routemq.lifecycle.scripts import KeyReports, UnusableKeyError
from routemq.queues import Keys
from routemq_transport.items import Item

TAG_PREFIX = "routemq:"
"""What tells our delivery tags, which are unique and renewed, from those of a worker with Celery's own transport."""

MOST_PER_FETCH = 100
"""Messages that one fetch takes at most."""

MOST_BYTES = 32 * 1024 * 1024
"""Of list items in one worker's hands. A slot that is free gets a larger message all the same."""

MOST_DUE_PER_FETCH = 200
"""Retries per queue that one fetch moves back to it at most."""

LOOK_FOR_DUE_EVERY_S = 0.02
"""While messages come, retries that are due are looked for no more often."""

_CHANNEL_DIGITS = 56
"""With so many a tag has more than 64 bytes, and Redis keeps `unacked_index` and the marks as skip lists.

Of short ones it makes a listpack. To add one it then reads up to 128 others, each with its time as text.
"""

_AT_ONCE = 16
"""Messages that the script reads before it looks at their size; fewer when there were large ones of late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """From what to fetch.

    Attributes:
        queues: If `fair`, always in the same order, of which the fetcher takes turns; else in the order of their turn.
        priorities: Steps of priority, the first one first.
        fair: Share between the queues; otherwise empty them in order.
    """

    queues: tuple[str, ...]
    priorities: tuple[int, ...]
    fair: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a fetch may take.

    Attributes:
        messages: At most.
        bytes: At most, but for one message that is larger when nothing waits.
        waits: Whether a message in hand waits to be run.
        alone: One that has to run alone is left, or taken if it is the first, or taken beside others as the last.
    """

    messages: int
    bytes: int = MOST_BYTES
    waits: bool = False
    alone: Alone = "first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What one fetch brought.

    Attributes:
        items: In the order of their delivery.
        complete: There was no more to take.
        next_due_s: Seconds until the next retry is due; None when none waits, or none was looked for.
        alone: A message that must run alone was left where it is, or is the last of these.
        too_large: The next message did not fit beside what is in hand.
        marked: So many of them, from the first on, are marked as started, but for those that came back.
        armed: Redis will tell when there is more.
        untold: Why Redis will not tell when a list that was found empty changes, though it was asked to.
    """

    items: list[Item]
    complete: bool
    next_due_s: float | None
    alone: Literal["left", "last"] | None
    too_large: bool
    marked: int
    armed: bool
    untold: redis.ResponseError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    turn: Turn
    most: int
    first_number: int
    told: bool
    marks: int


class Fetcher:
    """Sends the fetch script and reads its reply; makes a delivery tag for each delivery.

    Args:
        clock: Seconds that never jump.
    """

    def __init__(self, keys: Keys, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reports = KeyReports()
        self._sha: str | None = None
        self._tag_base = f"{TAG_PREFIX}{secrets.token_hex(_CHANNEL_DIGITS // 2)}:"
        self._command = FetchCommand(keys, tag_base=self._tag_base)
        self._next_number = 1
        self._asked: _Asked | None = None
        self._first = 0
        self._brought, self._largest = False, 1
        self._looked_for_due_at = 0.0

    def send(self, connection: Any, turn: Turn, room: Room, *, told: bool, marks: int, in_turn: int = 1) -> None:
        """Send one fetch.

        Args:
            room: At most `MOST_PER_FETCH` messages.
            told: Let Redis tell when a list that was found empty changes; see `WakeUp`.
            marks: Mark so many as started, from the first on, but for those that came back.
            in_turn: Share between queues by turns of so many messages.
        """
        if self._sha is None:
            connection.send_command("SCRIPT", "LOAD", self._command.text, check_health=False)
            self._sha = connection.read_response().decode()
        most, now = room.messages, self._clock()
        most_due = 0
        if told or not self._brought or now - self._looked_for_due_at >= LOOK_FOR_DUE_EVERY_S:
            most_due, self._looked_for_due_at = MOST_DUE_PER_FETCH, now
        command = self._command.arguments(
            turn.queues,
            turn.priorities,
            in_turn=in_turn if turn.fair else 0,
            first=self._first % len(turn.queues) if turn.fair else 0,
            most=most,
            most_bytes=room.bytes,
            at_once=max(1, min(_AT_ONCE, room.bytes // self._largest)),
            waits=room.waits,
            alone=room.alone,
            most_due=most_due,
            told=told,
            marks=marks,
            number=self._next_number,
        )
        self._asked = _Asked(turn=turn, most=most, first_number=self._next_number, told=told, marks=marks)
        self._next_number += most
        commands: list[Any] = [("EVALSHA", self._sha, *command)]
        if told:
            commands.insert(0, ("CLIENT", "CACHING", "YES"))
        connection.send_packed_command(connection.pack_commands(commands))

    def read(self, connection: Any) -> Fetched:
        """Read the reply of the fetch that was sent.

        Raises:
            redis.NoScriptError: The server has forgotten the script; the next fetch brings it along.
            UnusableKeyError: Nothing can be taken before a key is mended.
            redis.RedisError: The connection failed, or the server refuses.
        """
        asked = self._asked
        if asked is None:
            raise redis.ConnectionError("Redis has hung up, or answers what nobody asked")
        untold = None
        try:
            if asked.told:
                try:
                    connection.read_response()
                except redis.ResponseError as exc:
                    # The reply of the fetch, and what it took, is still to be read.
                    untold = exc
            rows = connection.read_response()
        except redis.exceptions.NoScriptError:
            self._sha = self._asked = None
            raise
        except redis.ResponseError as exc:
            # Nothing was taken. After any other error something may have been: `unanswered` names it.
            self._asked = None
            raise (UnusableKeyError.of(exc) or exc) from None
        self._asked = None
        wait_ms, alone, too_large, reported, *groups = rows
        self._reports.log_all(reported)
        items = self._items(asked, groups)
        self._brought = bool(items)
        if items:
            self._largest = max(self._largest // 2, *(len(item.raw) for item in items), 1)
            # The queue after the one that was served last.
            self._first = groups[_last_group(groups)]
        complete = len(items) < asked.most and alone < 2 and not too_large
        return Fetched(
            items=items,
            complete=complete,
            next_due_s=None if wait_ms < 0 else wait_ms / 1000,
            alone=(None, "left", "last")[alone],
            too_large=bool(too_large),
            marked=asked.marks,
            armed=asked.told and complete and untold is None,
            untold=untold,
        )

    def fetch(self, connection: Any, turn: Turn, *, alone: Alone) -> Fetched:
        """Send a fetch of one message, however large, and wait for its reply."""
        room = Room(messages=1, alone=alone)
        self.send(connection, turn, room, told=False, marks=0)
        try:
            return self.read(connection)
        except redis.exceptions.NoScriptError:
            self.send(connection, turn, room, told=False, marks=0)
            return self.read(connection)

    def unanswered(self) -> list[str]:
        """Return the tags under which a fetch whose reply is lost may have recorded messages, and forget it."""
        asked, self._asked = self._asked, None
        if asked is None:
            return []
        numbers = range(asked.first_number, asked.first_number + asked.most)
        return [
            f"{self._tag_base}{number}{self._suffix(priority)}"
            for number in numbers
            for priority in asked.turn.priorities
        ]

    def _items(self, asked: _Asked, groups: Sequence[Any]) -> list[Item]:
        items: list[Item] = []
        queues, priorities = asked.turn.queues, asked.turn.priorities
        number, position = asked.first_number, 0
        while position < len(groups):
            queue, priority, count = groups[position : position + 3]
            name, suffix = queues[queue - 1], self._suffix(priorities[priority - 1])
            position += 3
            for raw in groups[position : position + count]:
                items.append(Item(f"{self._tag_base}{number}{suffix}", name, raw))
                number += 1
            position += count
        return items

    @staticmethod
    def _suffix(priority: int) -> str:
        return f":{priority}" if priority else ""


def _last_group(groups: Sequence[Any]) -> int:
    position = 0
    while (following := position + 3 + groups[position + 2]) < len(groups):
        position = following
    return position
