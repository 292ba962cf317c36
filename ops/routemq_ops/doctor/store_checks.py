"""Checks of Redis: what it is, whether it keeps what it is given, and what lies under our names."""

from collections.abc import Iterator, Sequence
from typing import Any

import redis

from routemq.connections import OLDEST_REDIS
from routemq.queues import Keys
from routemq.route import Route
from routemq.text import plural
from routemq_ops.doctor.finding import Finding, failed, passed, warned

_NEARLY_FULL = 0.9
_MOST_NAMED = 5


def check_store(client: "redis.Redis", keys: Keys, routes: Sequence[Route]) -> Iterator[Finding]:
    """Look at Redis.

    Raises:
        redis.RedisError: It went away meanwhile.
    """
    try:
        info = client.info()
    except redis.exceptions.NoPermissionError as exc:
        client.ping()
        yield warned("redis version", f"this user may not ask: {exc}", "allow INFO in the user's ACL")
        info = {}
    if info:
        yield _version(info)
        yield _role(info)
        yield _persistence(info)
        yield _eviction(info)
        yield _memory(info)
    yield _foreign_keys(client, keys, routes)


def _version(info: dict[str, Any]) -> Finding:
    version = str(info["redis_version"])
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        return failed("redis version", name, "use Redis 7.0 or newer, or Valkey")
    return passed("redis version", name)


def _role(info: dict[str, Any]) -> Finding:
    if info.get("cluster_enabled"):
        return failed("redis role", "it is a node of a cluster", "use one Redis, with a replica if you like")
    if info.get("role") != "master":
        return failed("redis role", "it is a replica, which takes no writes", "let REDIS_URL name the primary")
    return passed("redis role", f"primary, {info.get('connected_slaves', 0)} replicas")


def _persistence(info: dict[str, Any]) -> Finding:
    check = "redis persistence"
    if info.get("aof_enabled"):
        if info.get("aof_last_write_status") != "ok":
            return failed(check, "the append-only file cannot be written", "see Redis' log, and its disk")
        return passed(check, "append-only file")
    if info.get("rdb_last_bgsave_status") != "ok":
        return failed(check, "the last snapshot failed, so writes are refused", "see Redis' log, and its disk")
    return warned(
        check, "no append-only file: what came after the last snapshot is lost when Redis dies",
        "appendonly yes, appendfsync always (or everysec)",
    )  # fmt: skip


def _eviction(info: dict[str, Any]) -> Finding:
    policy = info.get("maxmemory_policy")
    if policy == "noeviction":
        return passed("redis eviction", "maxmemory-policy noeviction")
    return failed(
        "redis eviction", f"maxmemory-policy {policy}: a full Redis throws acknowledged messages away",
        "maxmemory-policy noeviction; ingest then waits until there is room",
    )  # fmt: skip


def _memory(info: dict[str, Any]) -> Finding:
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not most:
        return passed("redis memory", f"{used / 2**20:,.0f} MiB, without a limit of its own")
    share = used / most
    text = f"{used / 2**20:,.0f} of {most / 2**20:,.0f} MiB ({share:.0%})"
    if share >= _NEARLY_FULL:
        return warned("redis memory", text, "start more workers, discard dead letters, or give it more memory")
    return passed("redis memory", text)


def _foreign_keys(client: "redis.Redis", keys: Keys, routes: Sequence[Route]) -> Finding:
    wanted = expected_types(keys, routes)
    pipe = client.pipeline(transaction=False)
    for key in wanted:
        pipe.type(key)
    answers = pipe.execute(raise_on_error=False)
    wrong = [
        f"{key} is a {answer.decode()}, not a {kind}"
        for (key, kind), answer in zip(wanted.items(), answers, strict=True)
        if isinstance(answer, bytes) and answer.decode() not in ("none", kind)
    ]
    if wrong:
        shown = "; ".join(wrong[:_MOST_NAMED]) + ("" if len(wrong) <= _MOST_NAMED else f"; {len(wrong)} in all")
        return failed(
            "redis keys", f"another program's keys lie under our names: {shown}",
            "RENAME or DEL them, and give each program a database or a ROUTEMQ_KEY_PREFIX of its own",
        )  # fmt: skip
    return passed("redis keys", f"{plural(len(wanted), 'name')}, none taken by another program")


def expected_types(keys: Keys, routes: Sequence[Route]) -> dict[str, str]:
    """Return the Redis type of each key that the fleet uses, by its name."""
    types = {
        keys.unacked: "hash",
        keys.unacked_index: "zset",
        keys.started: "zset",
        keys.processes: "hash",
        keys.counted_routes: "set",
        keys.paused_routes: "hash",
        keys.history_looks: "hash",
        keys.history_routes: "zset",
        keys.doctor_drops: "hash",
        keys.alerts: "hash",
        keys.alerts_lock: "string",
        keys.dead_entries: "hash",
        keys.dead_raw: "hash",
        keys.dead_tracebacks: "hash",
        keys.dead_routes: "set",
        keys.dead_full_routes: "hash",
        keys.dead_audit: "stream",
        keys.dead_canaries: "hash",
        keys.dead_outcomes: "hash",
        keys.dead_bins: "zset",
        keys.dead_bin_room: "hash",
        keys.dead_frozen_all: "zset",
        keys.dead_retention_lock: "string",
        keys.dead_archive_problem: "string",
    }
    for route in routes:
        types[keys.queue(route.queue)] = "list"
        types[keys.delayed(route.queue)] = "zset"
        types[keys.counters(route.name)] = "hash"
        types[keys.dead_counters(route.name)] = "hash"
        types[keys.dead_by_time(route.name)] = "zset"
    return types
