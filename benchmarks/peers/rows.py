"""What the contestants did, as a table and as JSON."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text
from routemq_dev.bench.figures import Figures, Spread

ALONE, END_TO_END = "backlog_per_s", "end_to_end_per_s"
"""Their names among the figures: two workers alone, and from the publisher on."""

YARDSTICK = "naive"


@dataclass(slots=True, kw_only=True)
class Row:
    """One contestant over all rounds.

    Attributes:
        why_not: Why it did not take part, or not to the end; empty when it did.
    """

    title: str
    python: str = platform.python_version()
    figures: Figures = field(default_factory=Figures)
    why_not: str = ""

    def add(self, alone: Figures, under_load: Figures) -> None:
        """Add one turn."""
        self.figures.backlog += alone.end_to_end
        self.figures.end_to_end += under_load.end_to_end
        self.figures.processor_us += under_load.processor_us
        for each in (alone, under_load):
            self.figures.published += each.published
            self.figures.lost += each.lost
            self.figures.duplicates += each.duplicates

    @property
    def last(self) -> str:
        """What the last turn brought."""
        if self.why_not:
            return self.why_not
        alone = f"{self.figures.backlog[-1]:,.0f}/s alone, " if self.figures.backlog else ""
        return f"{alone}{self.figures.end_to_end[-1]:,.0f}/s end to end; {self.figures.lost} lost so far"

    def median(self, name: str) -> float | None:
        """Return the median of one figure, None where there is none."""
        spread = self.figures.spreads()[name]
        return spread.median if spread else None


def to_json(rows: Mapping[str, Row]) -> dict[str, Any]:
    """Return all of it."""
    found: dict[str, Any] = {}
    for key, row in rows.items():
        found[key] = {"title": row.title, "python": row.python, "why_not": row.why_not or None}
        if row.figures.published:
            figures = row.figures.to_json()
            wanted = (ALONE, END_TO_END, "processor_us", "published", "lost", "duplicates")
            found[key] |= {name: figures[name] for name in wanted}
    return found


def table(rows: Mapping[str, Row]) -> Table:
    """Return the table for a terminal, of all that were measured."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    made.add_column("messages/s", no_wrap=True)
    for title in ("2 workers alone", "× naive", "end to end", "× naive", "processor, µs", "lost", "run twice"):
        made.add_column(title, justify="right", no_wrap=True)
    for row in rows.values():
        if not row.figures.published:
            continue
        spreads = row.figures.spreads()
        cells: list[str | Text] = []
        for name in (ALONE, END_TO_END):
            cells += [_cell(spreads[name]), _times(rows, row, name)]
        lost = Text(f"{row.figures.lost:,}", "bold red" if row.figures.lost else "")
        made.add_row(Text(row.title), *cells, f"{row.median('processor_us'):,.0f}", lost, f"{row.figures.duplicates:,}")
    return made


def _cell(spread: Spread | None) -> str:
    return f"{spread.median:,.0f} ({spread.least:,.0f} … {spread.most:,.0f})" if spread else "–"


def _times(rows: Mapping[str, Row], row: Row, name: str) -> str:
    theirs = rows[YARDSTICK].median(name) if YARDSTICK in rows else None
    ours = row.median(name)
    return f"{ours / theirs:.1f}" if ours and theirs else ""
