"""Who changed dead letters, paused routes or the size of a pool, when, and how many."""

from dataclasses import dataclass, field
from typing import Any, cast

import redis

from routemq.dead_letters.letter import new_id
from routemq.queues import Keys
from routemq.text import printable

_MOST_KEPT = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a change is called in the audit; the steps of one command share it.

    Attributes:
        actor: Who asks, such as `ana@host` or `flower:ana`.
        detail: The filter, the ids or the file.
        id: The same for all steps.
    """

    actor: str
    detail: str = ""
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change.

    Attributes:
        at: First step, Unix seconds by Redis' clock; `ended_at` the last one.
        who: Who asked.
        action: `replay`, `discard`, `undo`, `empty` of the bin, `purge`, `archive` or `import`; `pause` or `resume` of
            a route; `grow` or `shrink` of a worker's pool.
        count: Dead letters that were changed; else 1.
        detail: The filter, the ids or the file.
        operation: The same for all steps of one command.
    """

    at: float
    ended_at: float
    who: str
    action: str
    count: int
    detail: str
    operation: str


def write_audit(client: "redis.Redis", keys: Keys, action: str, *, who: str, detail: str, count: int = 1) -> None:
    """Write down a change of what is not in Redis; the scripts that change dead letters and pauses write their own."""
    entry = {"who": printable(who), "action": action, "operation": new_id(), "detail": printable(detail)}
    client.xadd(keys.dead_audit, cast("Any", {**entry, "count": count}), maxlen=_MOST_KEPT)


def read_audit(client: "redis.Redis", keys: Keys, *, limit: int) -> tuple[AuditEntry, ...]:
    """Return the last changes, the newest first; the steps of one command are one entry."""
    entries: dict[tuple[str, str, str], AuditEntry] = {}
    before = "+"
    while True:
        found = cast(
            "list[tuple[bytes, dict[bytes, bytes]]]", client.xrevrange(keys.dead_audit, max=before, count=1000)
        )
        for name, fields in found:
            _add(entries, name, {_text(key): _text(value) for key, value in fields.items()})
        # One entry more than asked for: then the steps of those that were asked for are complete, as far as they
        # were not made at the same time as others'.
        if len(found) < 1000 or len(entries) > limit:
            return tuple(entries.values())[:limit]
        before = f"({found[-1][0].decode()}"


def _add(entries: dict[tuple[str, str, str], AuditEntry], name: bytes, written: dict[str, str]) -> None:
    # Whatever else may write to the stream must not hide what was done.
    fields = dict.fromkeys(("operation", "action", "who", "detail", "count"), "") | written
    at = int(name.partition(b"-")[0]) / 1000
    key = (fields["operation"], fields["action"], fields["who"])
    later = entries.get(key)
    entries[key] = AuditEntry(
        at=at,
        ended_at=at if later is None else later.ended_at,
        who=fields["who"],
        action=fields["action"],
        count=(int(fields["count"]) if fields["count"].isdecimal() else 0) + (0 if later is None else later.count),
        detail=fields["detail"],
        operation=fields["operation"],
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
