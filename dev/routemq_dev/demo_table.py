"""The live table of the demo: what became of the messages, route by route."""

import time
from collections import deque
from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from routemq.text import plural
from routemq_dev.progress import RouteProgress, total

_RATE_OVER_S = 5.0
_COLUMNS = ("received", "done", "retried", "dead", "queued")


class DemoTable:
    """Made of one snapshot after the other; the rate is that of the last seconds."""

    def __init__(self) -> None:
        self._history: deque[tuple[float, Mapping[str, RouteProgress]]] = deque(maxlen=60)

    def render(
        self, progress: Mapping[str, RouteProgress], *, footer: str, most_rows: int | None = None
    ) -> RenderableType:
        """Return the table of this moment.

        Args:
            most_rows: Of more routes those are shown for which most has come.
        """
        now = time.monotonic()
        self._history.append((now, progress))
        while len(self._history) > 1 and now - self._history[0][0] > _RATE_OVER_S:
            self._history.popleft()
        table = Table(box=None, pad_edge=False, header_style="bold", footer_style="bold", show_footer=True)
        everything = total(progress)
        # The only one that may be cut: in a narrow terminal the figures are what counts.
        table.add_column("route", "all", overflow="ellipsis")
        for name in _COLUMNS:
            table.add_column(name, f"{getattr(everything, name):,}", justify="right", no_wrap=True)
        table.add_column("done/s", f"{sum(map(self._rate, progress)):,.0f}", justify="right", no_wrap=True)
        by_size = sorted(progress, key=lambda name: -progress[name].received)
        shown = set(by_size[:most_rows])
        for name, route in progress.items():
            if name not in shown:
                continue
            cells = [f"{getattr(route, column):,}" for column in _COLUMNS]
            table.add_row(Text(name), *cells, f"{self._rate(name):,.0f}")
        hidden = len(progress) - len(shown)
        more = f"… and {plural(hidden, 'more route')}\n" if hidden else ""
        return Group(table, Text(""), Text(f"{more}{footer}"))

    def _rate(self, route: str) -> float:
        (since, before), (until, latest) = self._history[0], self._history[-1]
        if until <= since:
            return 0.0
        return (latest[route].done - before.get(route, RouteProgress()).done) / (until - since)
