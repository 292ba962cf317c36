"""What was discarded stays in the bin for a while, until it is brought back or its time is over."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import redis

from routemq.dead_letters.audit import Operation
from routemq.errors import RouteMQError
from routemq.lifecycle.scripts import KeyReports
from routemq.queues import Keys

_LETTER = "letter:"
_CHUNK = 500


class NotInBinError(RouteMQError):
    """Nothing that this operation has discarded is in the bin."""

    def __init__(self, *, operation: str) -> None:
        self.operation = operation
        super().__init__(f"nothing of {operation!r} is in the bin; `routemq dlq bin` shows what is")


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Letters that were discarded together.

    Attributes:
        operation: Who discarded them, with its id and what the audit calls them.
        at: When, Unix seconds.
        until: When they are gone for good.
        letters: How many of them are in the bin.
    """

    operation: Operation
    at: float
    until: float
    letters: int


@dataclass(frozen=True, slots=True)
class Bin:
    """Reads the bin."""

    client: "redis.Redis"
    keys: Keys
    reports: KeyReports

    def all(self) -> tuple[Discard, ...]:
        """Return what is in it, the newest first."""
        names = cast("list[bytes]", self.client.zrange(self.keys.dead_bins, 0, -1, desc=True))
        return self.some([name.decode(errors="replace") for name in names])

    def some(self, operations: list[str]) -> tuple[Discard, ...]:
        """Return what is in it of some operations."""
        return tuple(discard for discard in self._read(operations) if discard is not None)

    def find(self, operation: str) -> Discard | None:
        """Return what an operation has put into it; None when that is gone or was brought back."""
        (found,) = self._read([operation])
        return found

    def get(self, operation: str) -> Discard:
        """Return what an operation has put into it.

        Raises:
            NotInBinError: That is gone, or was brought back, or there is no such operation.
        """
        found = self.find(operation)
        if found is None:
            raise NotInBinError(operation=operation)
        return found

    def ids(self, operation: str) -> list[str]:
        """Return the letters that an operation has put into it."""
        names = cast("list[bytes]", self.client.hkeys(self.keys.dead_bin(operation)))
        return [name.removeprefix(_LETTER) for name in map(_text, names) if name.startswith(_LETTER)]

    def holding(self, letter_id: str) -> Discard | None:
        """Return with what a letter was discarded; None when it is not in the bin."""
        names = [_text(name) for name in cast("list[bytes]", self.client.zrange(self.keys.dead_bins, 0, -1, desc=True))]
        # The newest first, in parts: who looks for a letter has mostly discarded it just now.
        for first in range(0, len(names), _CHUNK):
            pipe = self.client.pipeline(transaction=False)
            for name in names[first : first + _CHUNK]:
                pipe.hexists(self.keys.dead_bin(name), _LETTER + letter_id)
            there = self.reports.good(pipe.execute(raise_on_error=False), False)
            for name, is_there in zip(names[first:], there, strict=False):
                if is_there:
                    return self.find(name)
        return None

    def empty(self) -> int:
        """Let all that is in it go for good and return how many letters that were."""
        there = self.all()
        pipe = self.client.pipeline()
        # What others discard meanwhile is added up anew.
        pipe.hdel(self.keys.dead_bin_room, "letters", "bytes", *(discard.operation.id for discard in there))
        for discard in there:
            pipe.unlink(self.keys.dead_bin(discard.operation.id))
            # Not the whole set: what others discard meanwhile stays to be seen, and counts.
            pipe.zrem(self.keys.dead_bins, discard.operation.id)
        self.reports.good(pipe.execute(raise_on_error=False), None)
        return sum(discard.letters for discard in there)

    def _read(self, operations: list[str]) -> Iterator[Discard | None]:
        now, _ = self.client.time()
        pipe = self.client.pipeline(transaction=False)
        for name in operations:
            pipe.hmget(self.keys.dead_bin(name), "who", "detail", "at", "letters")
            pipe.pttl(self.keys.dead_bin(name))
        answers = iter(self.reports.good(pipe.execute(raise_on_error=False), (None,) * 4))
        for name, (who, detail, at, letters), ttl_ms in zip(operations, answers, answers, strict=True):
            try:
                discarded_at, count = float(at or ""), int(letters or "")
            # There is none, or a hand has written there, which must not hide the others.
            except ValueError:
                yield None
                continue
            operation = Operation(id=name, actor=_text(who or b""), detail=_text(detail or b""))
            until = float(now) + max(0, ttl_ms) / 1000
            yield Discard(operation=operation, at=discarded_at, until=until, letters=count)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
