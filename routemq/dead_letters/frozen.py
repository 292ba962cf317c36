"""Replays of many letters: the set is frozen in Redis when it starts, so that any process can take it up again."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

import orjson
import redis

from routemq.dead_letters.audit import Operation
from routemq.dead_letters.replaying import ReplayOptions, ReplayPace
from routemq.errors import RouteMQError
from routemq.lifecycle.scripts import UnusableKeyError
from routemq.queues import Keys
from routemq.text import error_line, stored_text

logger = logging.getLogger(__name__)

KEPT_S = 7 * 86_400
"""How long a replay is remembered, whether it is complete or nobody takes it up again."""

_CHUNK = 5_000


class FrozenReplayNotFoundError(RouteMQError):
    """No replay has this id: it is complete, or was begun more than a week ago, or the id is mistyped."""

    def __init__(self, *, replay_id: str) -> None:
        self.replay_id = replay_id
        super().__init__(
            f"no unfinished replay {replay_id!r}; `routemq dlq replay --resume list` shows those there are"
        )


class DamagedReplayError(RouteMQError):
    """What is kept of a replay is not what was written there; letters it has not come to stay where they are."""

    def __init__(self, *, replay_id: str, key: str, problem: str) -> None:
        self.replay_id, self.key, self.problem = replay_id, key, problem
        super().__init__(
            f"the Redis key {key!r} cannot be read as a replay: {problem}. Mend: delete it; replay what is left anew."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SentCanaries:
    """Letters that go before the others, so that it can be seen what becomes of them."""

    letters: tuple[str, ...]
    queues: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenReplay:
    """A replay of a set of letters that does not change any more.

    Attributes:
        operation: Who began it, with its id.
        started_at: Unix seconds.
        total: Letters it began with.
        remaining: Letters it has not come to.
        replayed: Letters that are on their queues again; gone and refused as in `ReplayResult`.
        ended_at: When it was complete, Unix seconds; None of one that is not.
        done: Messages that workers were done with, as far as that was counted.
        canaries: Letters that went first, and the queues they went to; None while none has.
        is_judged: Whether it is known that the others may follow, or a person has seen that they had better not.
    """

    operation: Operation
    options: ReplayOptions
    pace: ReplayPace
    started_at: float
    total: int
    remaining: int
    replayed: int
    gone: int
    refused: int
    ended_at: float | None = None
    done: int = 0
    canaries: SentCanaries | None = None
    is_judged: bool = False

    @property
    def id(self) -> str:
        """The operation's id."""
        return self.operation.id


@dataclass(frozen=True, slots=True)
class FrozenReplays:
    """The frozen sets in Redis."""

    client: "redis.Redis"
    keys: Keys

    def begin(
        self,
        ids: Iterable[str],
        operation: Operation,
        options: ReplayOptions,
        *,
        pace: ReplayPace | None = None,
        now: float,
    ) -> FrozenReplay:
        """Freeze a set of letters, in the order they will be replayed in; nothing is replayed yet."""
        pace = pace or ReplayPace()
        list_key, hash_key = self.keys.dead_frozen_ids(operation.id), self.keys.dead_frozen(operation.id)
        rest, total = iter(ids), 0
        try:
            while some := list(islice(rest, _CHUNK)):
                pipe = self.client.pipeline()
                pipe.rpush(list_key, *some)
                pipe.expire(list_key, KEPT_S)
                pipe.execute()
                total += len(some)
        # Also when the person who waits for a long search stops it.
        except BaseException:
            self.client.delete(list_key)
            raise
        pipe = self.client.pipeline()
        # Only now can it be taken up: a set that is half frozen is none.
        pipe.hset(
            hash_key,
            mapping={
                "actor": operation.actor,
                "detail": operation.detail,
                "to_queue": options.to_queue or "",
                "force": int(options.force),
                "canary": pace.canary,
                "rate": "" if pace.rate is None else pace.rate,
                "started_at": now,
                "total": total,
            },
        )
        pipe.expire(hash_key, KEPT_S)
        pipe.zadd(self.keys.dead_frozen_all, {operation.id: now})
        pipe.execute()
        return self.get(operation.id)

    def get(self, replay_id: str) -> FrozenReplay:
        """Return a replay that is not complete.

        Raises:
            FrozenReplayNotFoundError: There is none with this id.
            DamagedReplayError: What there is cannot be read.
        """
        found = self.record(replay_id)
        if found.ended_at is not None:
            raise FrozenReplayNotFoundError(replay_id=replay_id)
        return found

    def record(self, replay_id: str) -> FrozenReplay:
        """Return a replay, complete or not.

        Raises:
            FrozenReplayNotFoundError: There was none with this id in the last days.
            DamagedReplayError: What there is cannot be read.
        """
        pipe = self.client.pipeline()
        pipe.hgetall(self.keys.dead_frozen(replay_id))
        pipe.llen(self.keys.dead_frozen_ids(replay_id))
        found, remaining = pipe.execute()
        if b"total" not in found:
            raise FrozenReplayNotFoundError(replay_id=replay_id)
        try:
            return _read(replay_id, found, remaining)
        except (ValueError, TypeError, KeyError, RouteMQError) as exc:
            problem = error_line(exc)
            raise DamagedReplayError(
                replay_id=replay_id, key=self.keys.dead_frozen(replay_id), problem=problem
            ) from exc

    def known(self, replay_ids: Sequence[str]) -> list[str]:
        """Return those of some operations that are replays of many letters, complete or not."""
        pipe = self.client.pipeline(transaction=False)
        for name in replay_ids:
            pipe.exists(self.keys.dead_frozen(name))
        return [name for name, is_there in zip(replay_ids, pipe.execute(), strict=True) if is_there]

    def all(self) -> tuple[FrozenReplay, ...]:
        """Return the replays that are not complete, the newest first."""
        names = cast("list[bytes]", self.client.zrange(self.keys.dead_frozen_all, 0, -1, desc=True))
        there = []
        for name in names:
            try:
                there.append(self.get(stored_text(name)))
            except FrozenReplayNotFoundError:
                self.client.zrem(self.keys.dead_frozen_all, name)
            except (UnusableKeyError, DamagedReplayError) as exc:
                logger.warning("an unfinished replay cannot be read: %s", exc)
        return tuple(there)

    def head(self, replay_id: str, limit: int) -> list[str]:
        """Return the letters that are next."""
        names = cast("list[bytes]", self.client.lrange(self.keys.dead_frozen_ids(replay_id), 0, limit - 1))
        return [stored_text(name) for name in names]

    def wait_s(self, replay_id: str, each_s: float, *, now: float) -> float:
        """Return how long the next step has to wait for those before it, whoever took them; as `replay.lua` has it."""
        written = cast("bytes | None", self.client.hget(self.keys.dead_frozen(replay_id), "next_at"))
        try:
            wait_s = float(written or 0.0) - now
        except ValueError:
            return 0.0
        return wait_s if 0 < wait_s <= max(1.0, each_s) else 0.0

    def send_canaries(self, replay_id: str, canaries: SentCanaries) -> SentCanaries:
        """Note which letters go first; returns those of another process, if that was sooner."""
        key = self.keys.dead_frozen(replay_id)
        if self.client.hsetnx(key, "canaries", _written(canaries)):
            return canaries
        return _canaries(stored_text(cast("bytes | None", self.client.hget(key, "canaries")) or b"")) or canaries

    def canaries_sent(self, replay_id: str, canaries: SentCanaries) -> None:
        """Note which of them were sent."""
        self.client.hset(self.keys.dead_frozen(replay_id), "canaries", _written(canaries))

    def judge(self, replay_id: str) -> None:
        """Note that somebody has seen what became of the canaries."""
        self.client.hset(self.keys.dead_frozen(replay_id), "judged", 1)

    def ask_anew(self, replay_id: str) -> None:
        """Let the next letters be canaries."""
        self.client.hdel(self.keys.dead_frozen(replay_id), "canaries", "judged")

    def end(self, replay_id: str, *, now: float) -> None:
        """Note that a replay is complete."""
        pipe = self.client.pipeline()
        pipe.delete(self.keys.dead_frozen_ids(replay_id))
        pipe.hset(self.keys.dead_frozen(replay_id), "ended_at", now)
        pipe.expire(self.keys.dead_frozen(replay_id), KEPT_S)
        pipe.zrem(self.keys.dead_frozen_all, replay_id)
        try:
            pipe.execute()
        except redis.ResponseError as exc:
            # A Redis that is full takes no note, and is no reason to offer a complete replay to be continued.
            logger.warning("a complete replay is forgotten at once: %s", exc)
            self.forget(replay_id)

    def forget(self, replay_id: str) -> None:
        """Forget a replay; letters it has not come to stay where they are."""
        self.client.delete(self.keys.dead_frozen_ids(replay_id), self.keys.dead_frozen(replay_id))
        self.client.zrem(self.keys.dead_frozen_all, replay_id)


def _read(replay_id: str, found: Mapping[bytes, bytes], remaining: int) -> FrozenReplay:
    fields = {stored_text(name): stored_text(value) for name, value in found.items()}
    rate = float(fields["rate"]) if fields.get("rate") else None
    return FrozenReplay(
        operation=Operation(id=replay_id, actor=fields["actor"], detail=fields["detail"]),
        options=ReplayOptions(to_queue=fields["to_queue"] or None, force=fields["force"] == "1"),
        pace=ReplayPace(canary=int(fields.get("canary", 0)), rate=rate),
        started_at=float(fields["started_at"]),
        total=int(fields["total"]),
        remaining=remaining,
        replayed=int(fields.get("replayed", 0)),
        gone=int(fields.get("gone", 0)),
        refused=int(fields.get("refused", 0)),
        ended_at=float(fields["ended_at"]) if "ended_at" in fields else None,
        done=int(fields.get("done", 0)),
        canaries=_canaries(fields.get("canaries")),
        is_judged=fields.get("judged") == "1",
    )


def _written(canaries: SentCanaries) -> bytes:
    return orjson.dumps([canaries.letters, canaries.queues])


def _canaries(text: str | None) -> SentCanaries | None:
    if not text:
        return None
    letters, queues = orjson.loads(text)
    return SentCanaries(letters=tuple(letters), queues=tuple(queues))
