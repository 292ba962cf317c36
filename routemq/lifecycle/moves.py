"""Every step in the life of a message, one verb each; the head of this package says between which states.

All of them are in this one file, however long: whoever asks what can become of a message sees that there is no other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import redis

from routemq.lifecycle.limits import STRIKES_TO_RUN_ALONE
from routemq.lifecycle.scripts import KeyReports, Script, script_text
from routemq.queues import Keys
from routemq.text import stored_text

PutBack = Literal["unread", "returned"]
"""`unread`: to the front, as if it had not been taken; `returned`: to the back, counted, later each time."""

Alone = Literal["left", "first", "last"]
"""What a fetch does with a message that runs alone: nothing; takes it if it is the first; takes it as the last one."""

ByRoute = Mapping[str | None, Sequence[str]]
"""Delivery tags by the route that they are counted for; None: for none."""

MOST_AT_ONCE = 1000
"""Tags of one script: Lua unpacks them onto its stack, and a longer script keeps every other client waiting."""

MOST_DUE = 500
"""Messages of one queue that one script moves for their time."""

LONGEST_DELAY_S = 60.0
"""A message that comes back again and again waits at most this long."""

SET_ASIDE_S = 1e11
"""Added to the time at which a message was set aside, this is its due time: in 3,000 years, and exact to 15 us."""

_NEVER = 1e12
_IMPORT_REMEMBERED_S = 7 * 86_400
_BATCH_REMEMBERED_S = 86_400
_ALONE: tuple[Alone, ...] = ("left", "first", "last")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """How long a message stays with a worker that says nothing.

    Attributes:
        own_s: With a worker of our transport, which renews.
        others_s: With a worker of Celery's own transport, which does not.
    """

    own_s: float
    others_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came of a look at all leases.

    Attributes:
        now: Redis' time, Unix seconds.
        others: Delivery tags of messages that only Python can route.
    """

    now: float
    count: int
    others: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Burial:
    """A dead letter as the scripts write it.

    Attributes:
        description: JSON; the scripts read route, reason, queue, fingerprint, digest and traceback.
        message: List item; empty for the one that the worker holds.
        died_at_us: Time of death in microseconds; None for now.
    """

    id: str
    description: bytes
    traceback: str
    message: bytes = b""
    died_at_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Who changes dead letters, for the audit."""

    who: str
    operation: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BinRoom:
    """What the bin takes of discarded letters.

    Attributes:
        kept_s: How long; 0 for a discard that is for good.
        letters: How many in all, of however many discards; likewise their bytes.
    """

    kept_s: float
    letters: int = 100_000
    bytes: int = 64 * 1024 * 1024


class Moves:
    """The verbs, for a blocking client without a key prefix of its own.

    Each is one script, or several for very many messages, and each script does all of its work or nothing. Every verb
    raises `UnusableKeyError` when a key that it needs is not ours to use, and other errors of redis when Redis is away
    or refuses; then nothing was done.

    Args:
        longest_delay_s: See `LONGEST_DELAY_S`.
        most_letters: Dead letters that a route may have before it is marked full; 0 for any number.
    """

    def __init__(
        self, client: "redis.Redis", keys: Keys, *, longest_delay_s: float = LONGEST_DELAY_S, most_letters: int = 0
    ) -> None:
        self._client, self._keys, self._most = client, keys, most_letters
        self._place: list[Any] = [keys.prefix, keys.delayed(""), keys.separator, longest_delay_s]
        self._reports = KeyReports()
        self._scripts: dict[str, Script] = {}

    def _script(self, name: str) -> Script:
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = Script(self._client, name, reports=self._reports)
        return script

    def _run(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        return self._script(name)(keys=keys, args=args)

    # From the MQTT broker.

    def enqueue(
        self, items: Mapping[str, Sequence[bytes]], *, received: Mapping[str, int], sender: str, number: str
    ) -> dict[str, int]:
        """Queue messages, and count them as received; once, however often they are sent.

        Args:
            items: Queue → list items.
            received: Route → how many of them.
            sender: Who sends one batch after the other.
            number: The batch's, which no other has.

        Returns:
            How many messages wait on each queue now, those that wait for their time among them.
        """
        keys, args = _to_enqueue(self._keys, items, received, sender, number)
        return dict(zip(items, self._run("enqueue", keys, args), strict=True))

    def bury_direct(self, letters: Sequence[Burial]) -> int:
        """Make dead letters of messages that never were queued; return how many were not there yet."""
        args: list[Any] = [self._most]
        for letter in letters:
            args += (letter.id, letter.description, letter.message, letter.traceback)
        return cast("int", self._run("bury_direct", self._keys.letters, args))

    # Of what waits. `fetch` has no client: an event loop polls its connection.

    def promote(self, queues: Sequence[str]) -> float | None:
        """Move what is due to the back of its queue.

        Returns:
            Seconds until the next one is due, 0.0 when more are due than one step moves, None when none waits.
        """
        if not queues:
            return None
        pairs = [key for queue in queues for key in (self._keys.delayed(queue), self._keys.queue(queue))]
        wait_ms: int = self._run("promote", pairs, [MOST_DUE])
        return None if wait_ms < 0 else wait_ms / 1000

    def hasten(self, queue: str, *, most: int = MOST_DUE) -> int:
        """Move what waits for its time to the back of its queue, due or not; return how many still wait."""
        keys = [self._keys.delayed(queue), self._keys.queue(queue)]
        return cast("int", self._run("hasten", keys, [most]))

    def take_up(self, queue: str, *, until: float) -> bool:
        """Put a part of what was set aside back in front of its queue; True when there may be more.

        Args:
            queue: With its priority.
            until: Only what was set aside before, Unix seconds by Redis' clock.
        """
        names = [self._keys.delayed(queue), self._keys.queue(queue)]
        return cast("int", self._run("take_up", names, [SET_ASIDE_S, until, MOST_DUE])) == MOST_DUE

    # Of what a worker holds.

    def renew(self, tags: Sequence[str], *, running: bool) -> list[str]:
        """Renew leases, and mark what runs; return the tags whose lease was lost."""
        lost: list[str] = []
        for part in _parts(tags):
            lost += _texts(self._run("renew", [self._keys.unacked_index, self._keys.started], [int(running), *part]))
        return lost

    def acknowledge(self, done: ByRoute) -> None:
        """Forget messages that are done, and count those of routes that were still held."""
        keys = self._keys
        # In parts, and seldom more than one: only after Redis was away is there more than a batch.
        for routes, tags in _route_parts(done):
            totals = [keys.counters(route) for route, _ in routes]
            args = [*(argument for pair in routes for argument in pair), *tags]
            self._run(
                "acknowledge", [*keys.held, keys.counted_routes, keys.dead_canaries, keys.dead_outcomes, *totals], args
            )

    def retry_later(self, item: bytes, *, tag: str, queue: str, route: str, delay_s: float) -> bool:
        """Let the next run of a message wait, as this list item; False when the tag is not held any more."""
        keys = self._keys
        names = [keys.unacked, keys.unacked_index, keys.delayed(queue), keys.counters(route), keys.counted_routes]
        return bool(self._run("retry_later", names, [tag, item, round(delay_s * 1000), route]))

    def give_back(self, item: bytes, *, tag: str, queue: str, delay_s: float) -> bool:
        """Let a message that nobody ran wait, as this list item; False when the tag is not held any more.

        Args:
            queue: With its priority.
        """
        keys = self._keys
        names = [keys.unacked, keys.unacked_index, keys.delayed(queue), keys.queue(queue)]
        return bool(self._run("give_back", names, [tag, item, round(delay_s * 1000)]))

    def set_aside(self, item: bytes, *, tag: str, queue: str, paused_as: str) -> bool:
        """Let a message that nobody ran wait until its route is resumed; False when the tag is not held any more.

        Args:
            queue: With its priority.
            paused_as: The name under which its route is paused; if it is not any more, the message is back in front.
        """
        keys = self._keys
        names = [keys.unacked, keys.unacked_index, keys.delayed(queue), keys.queue(queue), keys.paused_routes]
        return bool(self._run("set_aside", names, [tag, item, paused_as, SET_ASIDE_S]))

    def put_back(self, tags: Sequence[str], how: PutBack) -> None:
        """Put messages back on their queues; `unread` keeps their order if the tags are in that of delivery."""
        # The last part first: each part goes in front of what was put back before.
        for part in reversed(list(_parts(tags))) if how == "unread" else _parts(tags):
            self._run("put_back", self._keys.held, [*self._place, how, *part])

    def restore(self, times: LeaseTimes, *, latest: float = _NEVER) -> Restored:
        """Put back what workers held that are gone, with a strike for what was running.

        Args:
            latest: When Redis' clock shows a later time, nothing is done.
        """
        count, others, left_at, left_tag = 0, list[str](), b"", b""
        while True:
            args = [*self._place, times.own_s, times.others_s, latest, MOST_AT_ONCE, left_at, left_tag]
            now, restored, more, left_at, left_tag, *found = self._run("restore", self._keys.held, args)
            count += restored
            others += _texts(found)
            if not more:
                return Restored(now=float(now), count=count, others=others)

    def requeue(self, item: bytes | str, *, tag: str, record: bytes, lists: Sequence[str]) -> bool:
        """Put back what a worker of another transport held; False when its record is not as it was read."""
        names = [self._keys.unacked, self._keys.unacked_index, *map(self._keys.queue, lists)]
        return bool(self._run("requeue", names, [tag, record, item]))

    def bury(self, letter: Burial, *, tag: str) -> bool:
        """Make a dead letter of a message; False when the tag is not held any more."""
        args = [tag, letter.id, letter.description, letter.traceback, self._most, letter.message]
        keys = self._keys
        names = [*keys.letters, keys.unacked, keys.unacked_index, keys.dead_canaries, keys.dead_outcomes]
        return bool(self._run("bury", names, args))

    # Of routes.

    def pause(self, route: str, description: bytes | None, change: Change) -> bool:
        """Pause a route, or resume it when there is no description; False when it was so already."""
        action = "resume" if description is None else "pause"
        args = [action, route, description or b"", change.who, change.operation, change.detail]
        return bool(self._run("pause", [self._keys.paused_routes, self._keys.dead_audit], args))

    # Of what is dead.

    def replay(
        self,
        messages: Mapping[str, tuple[str, bytes]],
        change: Change,
        *,
        frozen: Sequence[str] = (),
        refused: int = 0,
        each_s: float = 0.0,
    ) -> list[bool] | None:
        """Put messages of dead letters back on queues.

        Args:
            messages: Letter → queue and list item.
            frozen: The letters of this step of a frozen replay, those that are refused included.
            refused: How many these are.
            each_s: Seconds that each letter of a frozen replay takes, whoever replays them; 0 for no time.

        Returns:
            Whether each letter was still there; None when another process has taken this step, or the one before has
            not had its time.
        """
        keys = self._keys
        names = [*keys.letters, keys.dead_frozen_ids(change.operation), keys.dead_frozen(change.operation)]
        args: list[Any] = [self._most, change.who, change.operation, change.detail]
        args += (len(frozen), frozen[0] if frozen else "", refused, f"{each_s:.9f}")
        for name, (queue, item) in messages.items():
            args += (name, keys.queue(queue), item)
        return cast("list[bool] | None", self._run("replay", names, args))

    def discard(self, ids: Sequence[str], change: Change, *, action: str, room: BinRoom) -> list[bool]:
        """Take dead letters away, into the bin as far as there is room; return whether each was there."""
        keys = self._keys
        names = [*keys.letters, keys.dead_bin(change.operation), keys.dead_bins, keys.dead_bin(""), keys.dead_bin_room]
        args = [self._most, change.who, action, change.operation, change.detail]
        args += (round(room.kept_s), room.letters, room.bytes, *ids)
        return cast("list[bool]", self._run("discard", names, args))

    def undo(self, ids: Sequence[str], change: Change, *, of: str) -> tuple[int, int]:
        """Bring letters back from the bin.

        Args:
            of: The operation that has discarded them.

        Returns:
            How many were in the bin, and how many of these had not come back before.
        """
        names = [*self._keys.letters, self._keys.dead_bin(of), self._keys.dead_bins, self._keys.dead_bin_room]
        args = [self._most, change.who, change.operation, change.detail, of, *ids]
        taken, back = self._run("undo", names, args)
        return int(taken), int(back)

    def import_(self, letters: Sequence[Burial], change: Change, *, file: str, lines_before: int) -> int | None:
        """Bring dead letters of a file back; return how many were not there, None when another process did.

        Args:
            file: Its digest.
            lines_before: Lines of it that were brought before.
        """
        args: list[Any] = [self._most, change.who, change.operation, change.detail, lines_before]
        args += (lines_before + len(letters), _IMPORT_REMEMBERED_S)
        for letter in letters:
            args += (letter.id, letter.description, letter.message, letter.traceback, letter.died_at_us)
        return cast("int | None", self._run("import", [*self._keys.letters, self._keys.dead_import(file)], args))


class EnqueueCommand:
    """`enqueue`, for a loop that polls its own connection to a Redis which knows the script.

    Args:
        sender: See `Moves.enqueue`.
    """

    def __init__(self, client: "redis.Redis", keys: Keys, *, sender: str) -> None:
        self._script, self._keys, self._sender = Script(client, "enqueue"), keys, sender

    def command(
        self, items: Mapping[str, Sequence[bytes]], *, received: Mapping[str, int], number: str
    ) -> tuple[Any, ...]:
        """Return the whole command; what it means is said of `Moves.enqueue`."""
        keys, args = _to_enqueue(self._keys, items, received, self._sender, number)
        return self._script.command(keys=keys, args=args)

    def lengths(self, queues: Sequence[str], answered: Any) -> dict[str, int]:
        """Return how long each queue is, by what it was answered."""
        return dict(zip(queues, self._script.read(answered), strict=True))


class FetchCommand:
    """`fetch`, and what follows the hash of its script; made once for the same queues.

    Args:
        tag_base: Delivery tags start with this.
    """

    def __init__(self, keys: Keys, *, tag_base: str) -> None:
        self.text = script_text("fetch")
        self._keys, self._tag_base = keys, tag_base
        self._known: tuple[tuple[str, ...], list[bytes]] = (), []

    def arguments(
        self,
        queues: tuple[str, ...],
        priorities: Sequence[int],
        *,
        in_turn: int,
        first: int,
        most: int,
        most_bytes: int,
        at_once: int,
        waits: bool,
        alone: Alone,
        most_due: int,
        told: bool,
        marks: int,
        number: int,
    ) -> list[Any]:
        """Return the number of keys, the keys and the arguments; `fetch.lua` explains them.

        Args:
            in_turn: Messages of one queue before the next one has its turn; 0 to empty the queues in order.
            first: The queue whose turn it is.
            number: Of the first delivery tag.
        """
        keys = self._keys
        known, names = self._known
        if known != queues:
            names = [keys.queue(queue).encode() for queue in queues]
            self._known = queues, names
        return [
            *(len(names), *names),
            *(most, max(0, most_bytes), at_once, int(waits), _ALONE.index(alone), STRIKES_TO_RUN_ALONE),
            *(in_turn, first + 1, most_due, int(told), marks, self._tag_base, number),
            *(keys.prefix, keys.delayed(""), keys.separator, *keys.held),
            *(priority or "" for priority in priorities),
        ]


class StartCommand:
    """`start`, as one command with its text: no answer is read, so an error that SCRIPT FLUSH makes goes unheard."""

    def __init__(self, keys: Keys) -> None:
        self._text, self._key = script_text("start"), keys.started

    def arguments(self, tags: Sequence[str], *, started: bool) -> list[Any]:
        """Return what marks messages as started, or takes their marks back."""
        return ["EVAL", self._text, 1, self._key, "started" if started else "not started", *tags]


def _to_enqueue(
    keys: Keys, items: Mapping[str, Sequence[bytes]], received: Mapping[str, int], sender: str, number: str
) -> tuple[list[str], list[Any]]:
    args: list[Any] = [number, _BATCH_REMEMBERED_S, len(received)]
    for route, count in received.items():
        args += (route, count)
    for queued in items.values():
        args.append(len(queued))
        args += queued
    names = [
        *map(keys.counters, received),
        *(key for queue in items for key in (keys.queue(queue), keys.delayed(queue))),
    ]
    return [keys.counted_routes, keys.last_batch(sender), *names], args


def _parts(tags: Sequence[str]) -> "Sequence[Sequence[str]]":
    return [tags[start : start + MOST_AT_ONCE] for start in range(0, len(tags), MOST_AT_ONCE)]


def _route_parts(done: ByRoute) -> Iterator[tuple[list[tuple[str, int]], list[str]]]:
    """Give the routes with their share of the tags, and the tags; those of no route last."""
    if sum(map(len, done.values())) <= MOST_AT_ONCE:
        routes = [(route, len(tags)) for route, tags in done.items() if route is not None]
        tags = [tag for route, found in done.items() if route is not None for tag in found]
        yield routes, [*tags, *done.get(None, ())]
        return
    for route, found in done.items():
        for part in _parts(found):
            yield [] if route is None else [(route, len(part))], [*part]


def _texts(answer: Any) -> list[str]:
    return [stored_text(tag) if isinstance(tag, bytes) else tag for tag in answer]
