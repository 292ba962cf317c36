"""What the bench shows: a table that fills while it runs."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from routemq_dev.bench.figures import Figures, Spread
from routemq_dev.bench.side import NAIVE, ROUTEMQ

_BAR_WIDTH = 30
_ROWS = {
    "end_to_end_per_s": "end to end, messages/s",
    "processor_us": "processor, µs/message",
    "backlog_per_s": "backlog, messages/s",
    "steady_processor_us": "at --rate, µs/message",
    "latency_p50_ms": "latency p50, ms",
    "latency_p95_ms": "latency p95, ms",
    "latency_p99_ms": "latency p99, ms",
}
_COLOURS = {ROUTEMQ: "green", NAIVE: "yellow"}


def render(title: str, sides: Mapping[str, Figures], *, doing: str = "") -> RenderableType:
    """Return the table of this moment.

    Args:
        title: What is measured on.
        sides: The figures so far, ours first.
        doing: What goes on; empty at the end.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for name in sides:
        table.add_column(name, justify="right", no_wrap=True)
    if len(sides) > 1:
        table.add_column("", justify="right", style="bold", no_wrap=True)
    for key, label in _ROWS.items():
        found = {name: figures.spreads()[key] for name, figures in sides.items()}
        table.add_row(label, *map(_cell, found.values()), *_ratio(found, more_is_better=key.endswith("per_s")))
    table.add_section()
    for label, attribute in (("published", "published"), ("lost", "lost"), ("run twice", "duplicates")):
        amounts = [getattr(figures, attribute) if figures.published else None for figures in sides.values()]
        table.add_row(label, *(_amount(amount, is_bad=attribute == "lost") for amount in amounts))
    parts: list[RenderableType] = [Text(title, "bold"), Text(""), *_bars(sides), table]
    if doing:
        parts += [Text(""), Spinner("dots", Text(doing, "dim"))]
    return Group(*parts)


def _bars(sides: Mapping[str, Figures]) -> list[RenderableType]:
    """Return the throughput at a glance; nothing before the first round, or without a peer."""
    found = {name: figures.spreads()["end_to_end_per_s"] for name, figures in sides.items()}
    most = max((spread.median for spread in found.values() if spread), default=0.0)
    if not most or len(sides) == 1:
        return []
    grid = Table.grid(padding=(0, 2))
    for name, spread in found.items():
        if spread is not None:
            bar = "━" * max(1, round(_BAR_WIDTH * spread.median / most))
            grid.add_row(name, Text(bar, _COLOURS[name]), f"{spread.median:,.0f} messages/s")
    return [grid, Text("")]


def _cell(spread: Spread | None) -> Text:
    if spread is None:
        return Text("")
    around = Text(f" ({_number(spread.least)} … {_number(spread.most)})", "dim")
    return Text(_number(spread.median)).append_text(around)


def _amount(amount: int | None, *, is_bad: bool) -> Text:
    return Text("" if amount is None else f"{amount:,}", "bold red" if is_bad and amount else "")


def _ratio(found: Mapping[str, Spread | None], *, more_is_better: bool) -> list[str]:
    ours, theirs = found[ROUTEMQ], found.get(NAIVE)
    if ours is None or theirs is None:
        return []
    ratio = ours.median / theirs.median if more_is_better else theirs.median / ours.median
    return [f"{ratio:.1f} ×"]


def _number(value: float) -> str:
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
