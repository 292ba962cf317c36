"""Look through letters one by one where no index knows which match, and say how far that is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from routemq.cli.dlq.frame import say
from routemq.dead_letters import DeadLetter, DeadLetters, LetterFilter, Page
from routemq.dead_letters.letter import DamagedLetterError

_SOON = 100_000
"""Letters that are looked through before anyone wonders what takes so long."""

_STEP = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """How many letters match, and the first few of them."""

    count: int
    first: tuple[DeadLetter, ...]


def search(store: DeadLetters, chosen: LetterFilter, *, shown: int) -> Found:
    """Count the letters that match, and return the oldest of them."""
    first: list[DeadLetter] = []
    count = 0
    for letter in matching(store, chosen):
        if count < shown:
            first.append(letter)
        count += 1
        if chosen.is_indexed and count == shown:
            count = store.count(chosen)
            break
    return Found(count, tuple(first))


def newest(store: DeadLetters, chosen: LetterFilter, *, limit: int, after: str | None) -> Page:
    """Return a page of letters, the newest first."""
    if chosen.is_indexed:
        return store.page(chosen, limit=limit, after=after)
    letters: list[DeadLetter] = []
    with _Looking(store, chosen) as looking:
        while True:
            page = store.page(chosen, limit=limit - len(letters), after=after, scan_limit=_STEP)
            letters += page.letters
            looking.advance(page.scanned, len(letters))
            if len(letters) == limit or page.next is None:
                return Page(letters=tuple(letters), next=page.next, scanned=looking.looked_at)
            after = page.next


def matching(store: DeadLetters, chosen: LetterFilter) -> Iterator[DeadLetter]:
    """Yield every letter that matches, the oldest first."""
    if chosen.is_indexed:
        yield from store.letters(chosen, oldest_first=True)
        return
    with _Looking(store, chosen) as looking:
        found = 0
        for number, (_, letter) in enumerate(store.walk(chosen, oldest_first=True), 1):
            if not number % _STEP:
                looking.advance(_STEP, found)
            if letter is not None:
                found += 1
                yield letter


def readable(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    """Return the letters that can be read, and say of the others that they stay as they are."""
    found = []
    for letter in letters:
        if letter.damage is None:
            found.append(letter)
        else:
            say(f"Left as it is: {DamagedLetterError(letter_id=letter.id, problem=letter.damage)}.")
    return found


class _Looking:
    """Says before what takes long that it does, and how far it is; the latter on a terminal alone."""

    def __init__(self, store: DeadLetters, chosen: LetterFilter) -> None:
        # Most filters are indexed, and start without it.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        total = store.count(chosen.indexed_part)
        if total > _SOON:
            say(
                f"Up to {total:,} letters are read one by one; --route, --reason, --since, --until or a fingerprint as "
                "--error make them fewer."
            )
        self.looked_at = 0
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("looking …", total=total)

    def advance(self, looked_at: int, found: int) -> None:
        self.looked_at += looked_at
        told = f"{self.looked_at:,} looked at, {found:,} match"
        self._bar.update(self._task, completed=self.looked_at, description=told)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._bar.stop()
