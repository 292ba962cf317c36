"""The fetch, on a connection that an event loop polls: sent in one turn, read in a later one."""

import uuid
from dataclasses import dataclass
from typing import Any

import orjson
import redis

from routemq.lifecycle.limits import STRIKES_TO_RUN_ALONE
from routemq.lifecycle.scripts import KeyReports, UnusableKeyError
from routemq_transport.items import Item
from routemq_transport.scripts import TAG_PREFIX, TransportKeys, fetch_text

MOST_PER_FETCH = 100
"""Messages that one fetch takes at most."""

MOST_DUE_PER_FETCH = 200
"""Retries per queue that one fetch moves back to it at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """From what to fetch.

    Attributes:
        queues: In the order of their turn.
        priorities: Steps of priority, the first one first.
        fair: Share between the queues; otherwise empty them in order.
    """

    queues: tuple[str, ...]
    priorities: tuple[int, ...]
    fair: bool

    def lists(self, separator: str) -> list[tuple[str, int]]:
        """Return each list's name with the number of its queue, all queues of the first priority first."""
        return [
            (f"{queue}{separator}{priority}" if priority else queue, number)
            for priority in self.priorities
            for number, queue in enumerate(self.queues)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What one fetch brought.

    Attributes:
        items: In the order of their delivery.
        complete: There was no more to take.
        next_due_s: Seconds until the next retry is due; None when none waits.
        alone_waits: A message that must run alone waits until this worker holds nothing.
        marked: They are marked as started, but for those that came back.
    """

    items: list[Item]
    complete: bool
    next_due_s: float | None
    alone_waits: bool
    marked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    turn: Turn
    most: int
    first_number: int
    told: bool
    mark: bool


class Fetcher:
    """Sends the fetch script and reads its reply; makes a delivery tag for each delivery."""

    def __init__(self, keys: TransportKeys) -> None:
        self._keys = keys
        self._script = fetch_text()
        self._reports = KeyReports()
        self._sha: str | None = None
        self._tag_base = f"{TAG_PREFIX}{uuid.uuid4().hex}:"
        self._next_number = 1
        self._asked: _Asked | None = None
        self._arguments: dict[Turn, tuple[list[str], list[str]]] = {}

    def send(self, connection: Any, turn: Turn, *, most: int, held: int, told: bool, mark: bool) -> None:
        """Send one fetch.

        Args:
            most: Messages to take, at most `MOST_PER_FETCH`.
            held: Messages that this worker holds.
            told: Let Redis tell when a list that was found empty changes; see `WakeUp`.
            mark: Mark them as started, but for those that came back.
        """
        if self._sha is None:
            connection.send_command("SCRIPT", "LOAD", self._script, check_health=False)
            self._sha = connection.read_response().decode()
        keys, tails = self._arguments_of(turn)
        command = [
            "EVALSHA", self._sha, len(keys), *keys, most, len(turn.queues), int(turn.fair), MOST_DUE_PER_FETCH,
            self._tag_base, self._next_number, held, int(mark), STRIKES_TO_RUN_ALONE, *tails,
        ]  # fmt: skip
        self._asked = _Asked(turn=turn, most=most, first_number=self._next_number, told=told, mark=mark)
        self._next_number += most
        commands = [("CLIENT", "CACHING", "YES"), command] if told else [command]
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
            raise redis.ConnectionError("a reply that nothing was asked for")
        try:
            if asked.told:
                connection.read_response()
            rows = connection.read_response()
        except redis.exceptions.NoScriptError:
            self._sha = self._asked = None
            raise
        except redis.ResponseError as exc:
            # Nothing was taken. After any other error something may have been: `unanswered` names it.
            self._asked = None
            raise (UnusableKeyError.of(exc) or exc) from None
        self._asked = None
        wait_ms, alone, reported, *groups = rows
        self._reports.log_all(reported)
        lists = asked.turn.lists(self._keys.separator)
        queues = len(asked.turn.queues)
        items: list[Item] = []
        number, position = asked.first_number, 0
        while position < len(groups):
            place, count = groups[position] - 1, groups[position + 1]
            queue = asked.turn.queues[lists[place][1]]
            suffix = self._suffix(asked.turn.priorities[place // queues])
            for raw in groups[position + 2 : position + 2 + count]:
                items.append(Item(f"{self._tag_base}{number}{suffix}", queue, raw))
                number += 1
            position += 2 + count
        return Fetched(
            items=items,
            complete=len(items) < asked.most,
            next_due_s=None if wait_ms < 0 else wait_ms / 1000,
            alone_waits=bool(alone) and not items,
            marked=asked.mark,
        )

    def fetch(self, connection: Any, turn: Turn, *, held: int) -> Fetched:
        """Send a fetch of one message and wait for its reply."""
        self.send(connection, turn, most=1, held=held, told=False, mark=False)
        try:
            return self.read(connection)
        except redis.exceptions.NoScriptError:
            self.send(connection, turn, most=1, held=held, told=False, mark=False)
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

    def _arguments_of(self, turn: Turn) -> tuple[list[str], list[str]]:
        known = self._arguments.get(turn)
        if known is None:
            keys, prefix = self._keys, self._keys.prefix
            names = [name for name, _ in turn.lists(keys.separator)]
            tails: list[str] = []
            for priority in turn.priorities:
                for queue in turn.queues:
                    tails += [f',"",{orjson.dumps(queue).decode()}]', self._suffix(priority)]
            known = (
                [
                    keys.unacked,
                    keys.unacked_index,
                    keys.started,
                    *(prefix + name for name in names),
                    *map(keys.delayed, names),
                ],
                tails,
            )
            if len(self._arguments) > 1000:
                # Queues come and go; their turns must not fill the memory.
                self._arguments.clear()
            self._arguments[turn] = known
        return known

    @staticmethod
    def _suffix(priority: int) -> str:
        return f":{priority}" if priority else ""
