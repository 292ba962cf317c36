"""The order of letters, and the sorted sets that keep it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import redis

from routemq.dead_letters.letter_filter import LetterFilter


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the order of letters: the time of death, then the id."""

    died_at: float
    letter_id: bytes

    def __str__(self) -> str:
        return f"{self.died_at!r}/{self.letter_id.decode('utf-8', 'replace')}"

    @classmethod
    def parse(cls, text: str) -> "Position | None":
        """Read what `str` made of a position; None for anything else, such as a letter's id."""
        written, slash, letter_id = text.partition("/")
        try:
            died_at = float(written)
        except ValueError:
            return None
        # Python reads `nan`, `1_0` and other scripts' digits as well, which no time of death is written as.
        if not slash or not letter_id or not 0 <= died_at < math.inf or repr(died_at) != written:
            return None
        return cls(died_at, letter_id.encode())


def bounds(wanted: LetterFilter) -> tuple[str, str]:
    """Return the filter's times as Redis wants them for a range of scores."""
    low = "-inf" if wanted.since is None else repr(wanted.since)
    return low, "+inf" if wanted.until is None else f"({wanted.until!r}"


@dataclass(slots=True)
class IndexWalk:
    """One sorted set in order, a chunk at a time."""

    client: "redis.Redis"
    key: str
    wanted: LetterFilter
    oldest_first: bool
    chunk: int
    _size: int = field(init=False)

    def __post_init__(self) -> None:
        self._size = self.chunk

    def ask(self, client: "redis.Redis", after: Position | None) -> object:
        """Ask for the next chunk; `client` may be a pipeline."""
        low, high = bounds(self.wanted)
        if self.oldest_first:
            low = low if after is None else repr(after.died_at)
            return client.zrange(self.key, low, high, byscore=True, offset=0, num=self._size, withscores=True)
        high = high if after is None else repr(after.died_at)
        return client.zrange(self.key, high, low, byscore=True, desc=True, offset=0, num=self._size, withscores=True)

    def run(self, answer: object, after: Position | None) -> Iterator[Position]:
        """Yield the positions of a first answer, then of further ones."""
        while True:
            found = [Position(score, name) for name, score in cast("list[tuple[bytes, float]]", answer)]
            # The bound is a time, which several letters may share: what is not beyond the position was seen already.
            beyond = [position for position in found if after is None or self._is_beyond(position, after)]
            yield from beyond
            if len(found) < self._size:
                return
            if beyond:
                after = beyond[-1]
            else:
                self._size *= 4
            answer = self.ask(self.client, after)

    def _is_beyond(self, position: Position, after: Position) -> bool:
        return position > after if self.oldest_first else position < after
