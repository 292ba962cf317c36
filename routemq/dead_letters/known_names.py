"""What somebody may have meant who asks for letters of a route or a queue that never had any."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from routemq.dead_letters.letter_filter import LetterFilter
from routemq.dead_letters.reading import LetterReader

_MOST_SHOWN = 20
_MOST_CLOSE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownName:
    """A name in a filter that no letter ever had.

    Attributes:
        criterion: `route` or `queue`.
        close: Names that are spelled nearly so, the nearest first.
        known: Some of those there are; `others` says how many there are beyond.
    """

    criterion: str
    name: str
    close: tuple[str, ...]
    known: tuple[str, ...]
    others: int

    @classmethod
    def of(
        cls, store: LetterReader, wanted: LetterFilter, *, routes: Iterable[str] = (), queues: Iterable[str] = ()
    ) -> "UnknownName | None":
        """Return the name of a filter that is not known; None when all are, or none is.

        Args:
            routes: Those of the application, which may have had no letter yet; likewise its queues.
        """
        asked = [("route", wanted.route, routes), ("queue", wanted.queue, queues)]
        for criterion, name, others in asked:
            if name is None:
                continue
            there = store.routes() if criterion == "route" else store.queues()
            known = sorted({*there, *others})
            if known and name not in known:
                close = difflib.get_close_matches(name, known, n=_MOST_CLOSE)
                return cls(
                    criterion=criterion,
                    name=name,
                    close=tuple(close),
                    known=tuple(known[:_MOST_SHOWN]),
                    others=max(0, len(known) - _MOST_SHOWN),
                )
        return None

    def __str__(self) -> str:
        if self.close:
            return f"No {self.criterion} of that name had any; did you mean {', '.join(self.close)}?"
        more = f" and {self.others:,} more" if self.others else ""
        return f"{self.criterion.capitalize()}s that had some: {', '.join(self.known)}{more}."
