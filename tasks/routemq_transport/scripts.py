"""The transport's Lua scripts, with the keys and arguments they take."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import redis

from routemq.lifecycle.scripts import KeyReports, Script, script_text
from routemq.queues import Keys
from routemq_transport.acknowledgements import ByRoute

PutBack = Literal["unread", "returned"]
"""`unread`: to the front, as if it had not been taken; `returned`: to the back, counted, later each time."""

TAG_PREFIX = "routemq:"
"""What tells our delivery tags, which are unique and renewed, from those of a worker with Celery's own transport."""

_NEVER = 1e12

MOST_TAGS = 1000
"""Tags per call: Lua unpacks them onto its stack, and a longer script keeps every other client waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportKeys:
    """The Redis keys of one transport, complete with their prefix.

    Attributes:
        prefix: kombu's `global_keyprefix`.
        unacked: kombu's hash: delivery tag → `[message, exchange, routing key]`.
        unacked_index: kombu's sorted set: delivery tag → time of delivery or of the last renewal.
        separator: Between a queue's name and a priority.
    """

    prefix: str
    unacked: str
    unacked_index: str
    separator: str

    @property
    def started(self) -> str:
        """Sorted set: delivery tag → when it was marked as started."""
        return f"{self.prefix}routemq:started"

    def delayed(self, list_name: str) -> str:
        """Sorted set of what waits for its time before it goes to this list."""
        return f"{self.prefix}routemq:delayed:{list_name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """How long a message stays with a worker that says nothing.

    Attributes:
        own_s: With a worker of this transport, which renews.
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


def fetch_text() -> str:
    """Return the fetch script, which runs on a connection that an event loop polls and so has no client."""
    return script_text("fetch")


class Scripts:
    """Everything but the fetch, for a blocking client without a key prefix of its own."""

    def __init__(self, client: "redis.Redis", keys: TransportKeys, *, most_delay_s: float) -> None:
        self._client, self.keys, self._counters = client, keys, Keys(keys.prefix)
        self._place: list[str | bytes | float] = [keys.prefix, keys.delayed(""), keys.separator, most_delay_s]
        reports = KeyReports()
        self._acknowledge = Script(client, "acknowledge", reports=reports)
        self._renew = Script(client, "renew", reports=reports)
        self._put_back = Script(client, "put_back", reports=reports)
        self._restore = Script(client, "restore", reports=reports)
        self._requeue = Script(client, "requeue", reports=reports)

    @property
    def _held(self) -> list[str]:
        return [self.keys.unacked, self.keys.unacked_index, self.keys.started]

    def acknowledge(self, done: ByRoute) -> None:
        """Forget messages that are done, and count those of routes that were still held."""
        noted = [self._counters.counted_routes, self._counters.dead_canaries]
        # In parts, and seldom more than one: only after Redis was away is there more than a batch.
        for routes, tags in _route_parts(done):
            totals = [self._counters.counters(route) for route, _ in routes]
            args = [*(argument for pair in routes for argument in pair), *tags]
            self._acknowledge(keys=[*self._held, *noted, *totals], args=args)

    def renew(self, tags: Sequence[str], *, running: bool) -> list[str]:
        """Renew leases and return the tags whose lease was lost."""
        lost: list[str] = []
        for part in _parts(tags):
            answer = self._renew(keys=[self.keys.unacked_index, self.keys.started], args=[int(running), *part])
            lost += _texts(answer)
        return lost

    def put_back(self, tags: Sequence[str], how: PutBack) -> None:
        """Put held messages back on their queues; `unread` keeps their order if the tags are in that of delivery."""
        # The last part first: each part goes in front of what was put back before.
        for part in reversed(list(_parts(tags))) if how == "unread" else _parts(tags):
            self._put_back(keys=self._held, args=[*self._place, how, *part])

    def restore_lost(self, times: LeaseTimes, *, latest: float = _NEVER) -> Restored:
        """Restore messages whose lease ran out.

        Args:
            latest: When Redis' clock shows a later time, nothing is done.
        """
        count, others, left_at, left_tag = 0, list[str](), b"", b""
        while True:
            args = [*self._place, times.own_s, times.others_s, latest, MOST_TAGS, left_at, left_tag]
            now, restored, more, left_at, left_tag, *found = self._restore(keys=self._held, args=args)
            count += restored
            others += _texts(found)
            if not more:
                return Restored(now=float(now), count=count, others=others)

    def now(self) -> float:
        """Return Redis' time, Unix seconds."""
        seconds, microseconds = self._client.time()
        return float(seconds) + microseconds / 1e6

    def requeue(self, tag: str, record: bytes, lists: Sequence[str], item: bytes | str) -> bool:
        """Put back what another transport's worker held; False when its record is not as it was read."""
        answer = self._requeue(keys=[self.keys.unacked, self.keys.unacked_index, *lists], args=[tag, record, item])
        return bool(answer)


def _parts(tags: Sequence[str]) -> "Sequence[Sequence[str]]":
    return [tags[start : start + MOST_TAGS] for start in range(0, len(tags), MOST_TAGS)]


def _route_parts(done: ByRoute) -> Iterator[tuple[list[tuple[str, int]], list[str]]]:
    """Give the routes with their share of the tags, and the tags; those of no route last."""
    if sum(map(len, done.values())) <= MOST_TAGS:
        routes = [(route, len(tags)) for route, tags in done.items() if route is not None]
        tags = [tag for route, found in done.items() if route is not None for tag in found]
        yield routes, [*tags, *done.get(None, ())]
        return
    for route, found in done.items():
        for part in _parts(found):
            yield [] if route is None else [(route, len(part))], [*part]


def _texts(answer: Any) -> list[str]:
    return [tag.decode() if isinstance(tag, bytes) else tag for tag in answer]
