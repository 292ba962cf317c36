"""The letters before and after one, as one reads through a list."""

from dataclasses import dataclass
from itertools import islice

from routemq.dead_letters.letter import DeadLetter
from routemq.dead_letters.letter_filter import LetterFilter
from routemq.dead_letters.order import Position
from routemq.dead_letters.reading import LetterReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The letters before and after a place, in the order of listings.

    Attributes:
        is_complete: Whether all letters were looked at that could have been the ones.
    """

    newer: DeadLetter | None
    older: DeadLetter | None
    is_complete: bool

    @classmethod
    def of(cls, store: LetterReader, wanted: LetterFilter, place: Position, *, scan_limit: int) -> "Neighbours":
        """Look on both sides of a place, whether or not there is a letter at it.

        Args:
            scan_limit: Look at no more letters on either side than this.
        """
        found: list[DeadLetter | None] = []
        is_complete = True
        for oldest_first in (True, False):
            chunk = {"chunk": 2} if wanted.is_indexed else {}
            letter, looked_at = None, 0
            for _, letter in islice(store.walk(wanted, after=place, oldest_first=oldest_first, **chunk), scan_limit):
                looked_at += 1
                if letter is not None:
                    break
            found.append(letter)
            is_complete = is_complete and (letter is not None or looked_at < scan_limit)
        return cls(newer=found[0], older=found[1], is_complete=is_complete)
