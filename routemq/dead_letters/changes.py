"""The scripts that change letters which are there, or bring some back; each writes the audit in the same step."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import redis

from routemq.dead_letters.archive import ArchivedLetter
from routemq.dead_letters.audit import Operation
from routemq.dead_letters.fingerprint_limit import FingerprintLimit
from routemq.dead_letters.replaying import ReplayOptions, ReplayResult, prepare
from routemq.lifecycle.moves import BinRoom, Burial, Change, Moves
from routemq.queues import Keys

BATCH = 500
"""Letters that one script changes; more would keep every other client waiting."""


class LetterChanges:
    """Changes some letters at a time.

    Args:
        most: Most dead letters of a route, 0 for any number.
        room: What the bin takes.
    """

    def __init__(self, client: "redis.Redis", keys: Keys, *, most: int, room: BinRoom) -> None:
        self._client, self._keys, self._room = client, keys, room
        self._fingerprints = FingerprintLimit(client, keys)
        self._moves = Moves(client, keys, most_letters=most)

    def replay(
        self,
        ids: Sequence[str],
        operation: Operation,
        options: ReplayOptions,
        edits: Mapping[str, bytes],
        *,
        frozen: bool = False,
        each_s: float = 0.0,
    ) -> ReplayResult | None:
        """Put letters back on queues; None when another process has taken this step of a frozen replay, or it is soon.

        Args:
            each_s: See `Moves.replay`.
        """
        keys = self._keys
        pipe = self._client.pipeline(transaction=False)
        pipe.hmget(keys.dead_entries, ids)
        pipe.hmget(keys.dead_raw, ids)
        pipe.time()
        descriptions, raws, (now, _) = pipe.execute()
        found = zip(ids, descriptions, raws, strict=True)
        prepared = prepare(found, options, edits, actor=operation.actor, now=float(now))
        messages = {name: (message.queue, message.encode()) for name, message in prepared.messages.items()}
        flags = self._moves.replay(
            messages,
            _change(operation),
            frozen=ids if frozen else (),
            refused=len(prepared.refused),
            each_s=each_s,
        )
        if flags is None:
            return None
        done = dict(zip(prepared.messages, flags, strict=True))
        return ReplayResult(
            replayed=tuple(name for name, flag in done.items() if flag),
            queues=frozenset(prepared.messages[name].queue for name, flag in done.items() if flag),
            gone=(*prepared.gone, *(name for name, flag in done.items() if not flag)),
            refused=prepared.refused,
        )

    def discard(self, ids: Sequence[str], operation: Operation, action: str, *, for_good: bool) -> list[str]:
        """Take letters away and return the ids of those that were there."""
        room = replace(self._room, kept_s=0.0) if for_good else self._room
        flags = self._moves.discard(ids, _change(operation), action=action, room=room)
        return [name for name, flag in zip(ids, flags, strict=True) if flag]

    def undo(self, ids: Sequence[str], operation: Operation, *, of: str) -> int:
        """Bring letters back from the bin and return how many had not come back before."""
        return self._moves.undo(ids, _change(operation), of=of)[1]

    def import_(
        self, letters: Sequence[ArchivedLetter], operation: Operation, *, file_digest: str, lines_before: int
    ) -> int | None:
        """Bring letters of a file back; None when another process has brought these lines."""
        limited = self._fingerprints.limited([archived.letter for archived in letters])
        burials = [
            Burial(
                id=letter.id,
                description=letter.description(),
                traceback=letter.traceback,
                message=archived.raw,
                died_at_us=round(letter.died_at * 1e6),
            )
            for letter, archived in zip(limited, letters, strict=True)
        ]
        return self._moves.import_(burials, _change(operation), file=file_digest, lines_before=lines_before)


def _change(operation: Operation) -> Change:
    return Change(who=operation.actor, operation=operation.id, detail=operation.detail)
