"""Letters that this release of the application would not run: whoever replays them deserves a warning."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from routemq.dead_letters.letter import DeadLetter
from routemq.dead_letters.letter_filter import LetterFilter
from routemq.dead_letters.reading import LetterReader
from routemq.routing import Router
from routemq.text import printable

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangeRoutes:
    """Knows the routes of this release.

    Attributes:
        wait_s: How long a message of another route waits for workers that know it.
    """

    router: Router
    wait_s: float

    def warning(self, letters: Iterable[DeadLetter], *, to_queue: str | None = None) -> str | None:
        """Say which of these letters' routes this release does not have; None when it has all."""
        names = sorted({letter.route for letter in letters if self._is_strange(letter, to_queue)})
        if not names:
            return None
        more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
        shown = ", ".join(printable(name) for name in names[:_SHOWN])
        return (
            f"this release has no route for letters of {shown}{more}. Replayed, they wait for workers of a "
            f"release that has one, and are dead again after {self.wait_s:,g} s."
        )

    def _is_strange(self, letter: DeadLetter, to_queue: str | None) -> bool:
        # Of what was no message there is no topic, and it is not replayed.
        return (
            letter.topic is not None
            and self.router.find(letter.route, topic=letter.topic, queue=to_queue or letter.queue) is None
        )


def one_of_each_route(store: LetterReader, chosen: LetterFilter) -> Iterator[DeadLetter]:
    """Yield one letter of each route among those that match an indexed filter."""
    for route in store.routes() if chosen.route is None else [chosen.route]:
        yield from store.page(replace(chosen, route=route), limit=1).letters
