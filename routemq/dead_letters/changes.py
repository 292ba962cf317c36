"""The scripts that change letters which are there, or bring some back; each writes the audit in the same step."""

from collections.abc import Mapping, Sequence
from typing import cast

import redis

from routemq.dead_letters.archive import ArchivedLetter
from routemq.dead_letters.audit import Operation
from routemq.dead_letters.fingerprint_limit import FingerprintLimit
from routemq.dead_letters.replaying import ReplayOptions, ReplayResult, prepare
from routemq.lifecycle.scripts import Script
from routemq.queues import Keys

BATCH = 500
"""Letters that one script changes; more would keep every other client waiting."""

_IMPORT_REMEMBERED_S = 7 * 86_400


class LetterChanges:
    """Changes some letters at a time.

    Args:
        most: Most dead letters of a route, 0 for any number.
    """

    def __init__(self, client: "redis.Redis", keys: Keys, *, most: int) -> None:
        self._client, self._keys, self._most = client, keys, most
        self._common_keys = [keys.dead_letters, keys.counters(""), keys.counted_routes]
        self._fingerprints = FingerprintLimit(client, keys)
        self._replay, self._discard, self._import = (Script(client, name) for name in ("replay", "discard", "import"))

    def replay(
        self,
        ids: Sequence[str],
        operation: Operation,
        options: ReplayOptions,
        edits: Mapping[str, bytes],
        *,
        frozen: bool = False,
    ) -> ReplayResult | None:
        """Put letters back on queues; None when another process has taken this step of a frozen replay."""
        keys = self._keys
        pipe = self._client.pipeline(transaction=False)
        pipe.hmget(keys.dead_entries, ids)
        pipe.hmget(keys.dead_raw, ids)
        pipe.time()
        descriptions, raws, (now, _) = pipe.execute()
        found = zip(ids, descriptions, raws, strict=True)
        prepared = prepare(found, options, edits, actor=operation.actor, now=float(now))
        args: list[str | bytes | int] = [self._most, operation.actor, operation.id, operation.detail]
        args += [len(ids) if frozen else 0, ids[0], len(prepared.refused)]
        for name, message in prepared.messages.items():
            args += [name, keys.queue(message.queue), message.encode()]
        frozen_keys = [keys.dead_frozen_ids(operation.id), keys.dead_frozen(operation.id)]
        flags = cast("list[int] | None", self._replay(keys=[*self._common_keys, *frozen_keys], args=args))
        if flags is None:
            return None
        done = dict(zip(prepared.messages, flags, strict=True))
        return ReplayResult(
            replayed=tuple(name for name, flag in done.items() if flag),
            queues=frozenset(prepared.messages[name].queue for name, flag in done.items() if flag),
            gone=(*prepared.gone, *(name for name, flag in done.items() if not flag)),
            refused=prepared.refused,
        )

    def discard(self, ids: Sequence[str], operation: Operation, action: str) -> list[str]:
        """Take letters away for good and return the ids of those that were there."""
        args: list[str | int] = [self._most, operation.actor, action, operation.id, operation.detail, *ids]
        flags = cast("list[int]", self._discard(keys=self._common_keys, args=args))
        return [name for name, flag in zip(ids, flags, strict=True) if flag]

    def import_(
        self, letters: Sequence[ArchivedLetter], operation: Operation, *, file_digest: str, lines_before: int
    ) -> int | None:
        """Bring letters of a file back; None when another process has brought these lines."""
        args: list[str | bytes | int] = [self._most, operation.actor, operation.id, operation.detail, lines_before]
        args += [lines_before + len(letters), _IMPORT_REMEMBERED_S]
        limited = self._fingerprints.limited([archived.letter for archived in letters])
        for letter, archived in zip(limited, letters, strict=True):
            args += [letter.id, letter.description(), archived.raw, letter.traceback, round(letter.died_at * 1e6)]
        added = self._import(keys=[*self._common_keys, self._keys.dead_import(file_digest)], args=args)
        return cast("int | None", added)
