"""The scripts of `routemq/lifecycle/` at work under a prefix of their own, and what can go wrong with a key."""

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import redis
from routemq_transport.fetching.fetcher import MOST_BYTES, Fetched, Fetcher, Room, Turn
from routemq_transport.items import Item

from routemq.dead_letters import DeadLetters
from routemq.envelope import TaskMessage
from routemq.lifecycle.moves import Alone, LeaseTimes, Moves
from routemq.lifecycle.record import HeldItem
from routemq.queues import Keys

QUEUES = ("a", "b", 'c"\\ü')
PRIORITIES = (0, 3)
LEASE = LeaseTimes(own_s=100, others_s=1000)

_SNAPSHOT = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local content = redis.call('DUMP', key)
  if redis.call('TYPE', key).ok == 'hash' then
    -- The order of a hash is not its content.
    local fields, pairs = redis.call('HGETALL', key), {}
    for index = 1, #fields, 2 do
      pairs[#pairs + 1] = fields[index] .. '=' .. fields[index + 1]
    end
    table.sort(pairs)
    content = table.concat(pairs, ',')
  end
  found[#found + 1] = key
  found[#found + 1] = content
end
return found
"""


class Worker:
    """One worker's fetcher, and what it believes to hold."""

    def __init__(self, client: "redis.Redis", keys: Keys) -> None:
        self._connection = client.connection_pool.get_connection()
        self._fetcher = Fetcher(keys)
        self.held: dict[str, Item] = {}

    def fetch(
        self,
        queues: tuple[str, ...],
        most: int,
        *,
        fair: bool = True,
        held: int | None = None,
        mark: bool = False,
        in_turn: int = 1,
        alone: Alone | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> Fetched:
        busy = bool(self.held if held is None else held)
        room = Room(messages=most, bytes=most_bytes, waits=busy, alone=alone or ("left" if busy else "first"))
        turn = Turn(queues=queues, priorities=PRIORITIES, fair=fair)
        self._fetcher.send(self._connection, turn, room, told=False, marks=most if mark else 0, in_turn=in_turn)
        fetched = self._fetcher.read(self._connection)
        self.held.update({item.tag: item for item in fetched.items})
        return fetched

    def forget_script(self) -> None:
        """Bring the script along with the next fetch."""
        self._fetcher._sha = None

    def close(self) -> None:
        self._connection.disconnect()


class Place:
    """Keys and scripts under a prefix of their own.

    Args:
        client: What puts, looks and makes faults.
        scripts: What the scripts use, if that is another.
    """

    def __init__(
        self, client: "redis.Redis", *, scripts: "redis.Redis | None" = None, prefix: str | None = None
    ) -> None:
        self.client, self.scripts_client = client, scripts or client
        self.keys = Keys(prefix or f"s{uuid.uuid4().hex[:10]}:")
        self.moves = Moves(self.scripts_client, self.keys)
        self.letters = DeadLetters(self.scripts_client, self.keys)
        # What is noted of replayed messages is noted beside the scripts, and moves none.
        self.letters._watch = lambda work: None  # type: ignore[method-assign]
        self._aside: dict[str, str] = {}

    def list_name(self, queue: str, priority: int = 0) -> str:
        return f"{queue}\x06\x16{priority}" if priority else queue

    def put(self, *items: bytes, queue: str = "a", priority: int = 0) -> None:
        self.client.lpush(self.keys.prefix + self.list_name(queue, priority), *items)

    def items(self, queue: str = "a", priority: int = 0) -> list[bytes]:
        found: Any = self.client.lrange(self.keys.prefix + self.list_name(queue, priority), 0, -1)
        return list(reversed(found))

    def retry(self, message: TaskMessage, *, tag: str, delay_s: float) -> bool:
        return self.moves.retry_later(
            message.encode(), tag=tag, queue=message.queue, route=message.route, delay_s=delay_s
        )

    def held(self, tag: str) -> HeldItem | None:
        return HeldItem.read(self.scripts_client, self.keys, tag)

    def restore_lost(self) -> tuple[int, list[str]]:
        """Return how many messages were restored, and the tags of those that only Python can route."""
        restored = self.moves.restore(LEASE)
        return restored.count, restored.others

    def expire_leases(self, seconds: float) -> None:
        """Let this much time pass for what is held, or go back."""
        index = self.real(self.keys.unacked_index)
        entries: Any = self.client.zrange(index, 0, -1, withscores=True)
        for tag, score in entries:
            self.client.zadd(index, {tag: score - seconds})

    def count_messages(self) -> int:
        """Return how many there are, in all queues, delayed sets and hands, and among the dead letters."""
        held: Any = self.client.hlen(self.keys.unacked)
        dead: Any = self.client.hlen(self.keys.dead_raw)
        binned: Any = self.client.zrange(self.real(self.keys.dead_bins), 0, -1)
        for operation in binned:
            key = self.real(self.keys.dead_bin(operation.decode()))
            found: Any = self.client.hkeys(key)
            dead += sum(name.startswith(b"letter:") for name in found)
        total = int(held + dead)
        for queue in QUEUES:
            for priority in PRIORITIES:
                name = self.list_name(queue, priority)
                waiting: Any = self.client.llen(self.keys.prefix + name)
                delayed: Any = self.client.zcard(self.keys.delayed(name))
                total += waiting + delayed
        return total

    # Faults.

    @property
    def in_the_way(self) -> list[str]:
        """The names under which another application's key lies."""
        return sorted(self._aside)

    def real(self, key: str) -> str:
        """Return where our key of this name is, while another application's lies in its place."""
        return self._aside.get(key, key)

    def names(self) -> list[str]:
        """Return the names of all our keys that there are now."""
        found: Any = self.client.keys(f"{self.keys.prefix}*")
        return sorted({key.decode() for key in found} - set(self._aside) - set(self._aside.values()))

    def put_in_the_way(self, key: str, kind: str) -> None:
        """Let another application's key lie under one of our names.

        Args:
            kind: Its type; `words` is a hash with our fields, and no number in any.
        """
        aside = f"{self.keys.prefix}aside:{key}"
        self._aside[key] = aside
        with contextlib.suppress(redis.ResponseError):
            self.client.rename(key, aside)
        if kind == "list":
            self.client.rpush(key, "theirs")
        elif kind == "words":
            fields: Any = self.client.hkeys(aside) if self.client.type(aside) == b"hash" else []
            self.client.hset(key, mapping=dict.fromkeys(fields or [b"done"], "theirs"))
        else:
            self.client.set(key, "theirs")

    def mend(self, key: str) -> None:
        """Take it away again."""
        aside = self._aside.pop(key)
        self.client.delete(key)
        if self.client.exists(aside):
            self.client.rename(aside, key)

    def snapshot(self) -> Mapping[bytes, bytes]:
        """Return all there is under the prefix."""
        found: Any = self.client.eval(_SNAPSHOT, 0, f"{self.keys.prefix}*")
        return dict(zip(found[::2], found[1::2], strict=True))

    @contextlib.contextmanager
    def all_or_nothing(self) -> Iterator[list[redis.ResponseError]]:
        """Run something that may be refused; then nothing has changed. Gives the refusal."""
        before, refused = self.snapshot(), list[redis.ResponseError]()
        try:
            yield refused
        except redis.ResponseError as exc:
            refused.append(exc)
        if refused:
            after = self.snapshot()
            changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
            if changed:
                raise AssertionError(f"{changed} changed, though: {refused[0]}")


COMMANDS = [
    *("lpush", "rpush", "ltrim", "hset", "hsetnx", "hdel", "hincrby", "sadd", "xadd", "set", "expire"),
    *("zadd", "zrem", "zremrangebyscore", "zcard", "zscore", "zmscore", "zrange", "zrangebyscore"),
    *("type", "exists", "lrange", "lindex", "hget", "hmget", "hexists", "get", "time"),
]
"""What the scripts use, and a user may be forbidden."""


class LimitedUser:
    """A Redis user of a test's own, who may be forbidden a command."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self.name = f"u{uuid.uuid4().hex[:10]}"
        client.acl_setuser(self.name, enabled=True, nopass=True, keys=["*"], channels=["*"], categories=["+@all"])

    def client(self) -> "redis.Redis":
        options = self._client.connection_pool.connection_kwargs
        return redis.Redis(host=options["host"], port=options["port"], username=self.name, socket_timeout=10)

    def forbid(self, command: str) -> None:
        self._client.acl_setuser(self.name, enabled=True, commands=[f"-{command}"])

    def permit(self) -> None:
        self._client.acl_setuser(self.name, enabled=True, categories=["+@all"])

    def remove(self) -> None:
        self._client.acl_deluser(self.name)


@contextlib.contextmanager
def limited_user(client: "redis.Redis") -> Iterator[LimitedUser]:
    user = LimitedUser(client)
    try:
        yield user
    finally:
        user.remove()
