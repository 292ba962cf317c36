"""The live view of `routemq top`: made of one reading of the fleet after the other."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from routemq.metrics.fleet import FleetReading, QueueReading
from routemq.metrics.histogram import difference, quantile
from routemq.metrics.presence import ProcessReport
from routemq.metrics.totals import RouteTotals
from routemq.route import Route
from routemq.text import plural, printable

_RATES_OVER_S = 10.0
_LATENCY_OVER_S = 5.0
_NARROW = 110
"""A terminal with fewer columns does without the columns that matter least."""

_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteLine:
    """One route at one moment.

    Attributes:
        rate_in: Messages a second that were received or replayed; None until there are two readings.
        rate_out: Likewise what was done or died.
        p50_s: From the receipt of a message to the end of its run, of what ended in the last seconds; likewise p99.
    """

    name: str
    queue: str
    rate_in: float | None
    rate_out: float | None
    reading: QueueReading
    oldest_s: float | None
    running: int
    retried: int
    dead: int
    dead_letters: int
    is_full: bool
    is_paused: bool
    p50_s: float | None
    p99_s: float | None


class FleetView:
    """Remembers the readings of the last seconds, for rates.

    Args:
        routes: In the order in which they are shown.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)
        self._readings: deque[FleetReading] = deque()

    def add(self, fleet: FleetReading) -> None:
        """Take in one more reading."""
        self._readings.append(fleet)
        while len(self._readings) > 2 and fleet.at - self._readings[1].at >= _RATES_OVER_S:
            self._readings.popleft()

    def lines(self) -> list[RouteLine]:
        """Return each route as it is now."""
        fleet, before = self._readings[-1], self._readings[0]
        elapsed_s = fleet.at - before.at
        # Of too short a time there would be none; then it is that of all since the workers began.
        earlier = before.processes.live("worker") if elapsed_s >= _LATENCY_OVER_S else ()
        latency = latency_between(earlier, fleet.processes.live("worker"))
        return [self._line(route, fleet, before, elapsed_s, latency.get(route.name)) for route in self._routes]

    def to_json(self) -> dict[str, Any]:
        """Return the newest reading for a program."""
        fleet = self._readings[-1]
        return {
            "at": fleet.at,
            "routes": [
                {
                    "name": line.name, "queue": line.queue, "rate_in": line.rate_in, "rate_out": line.rate_out,
                    "waiting": line.reading.waiting, "delayed": line.reading.delayed, "held": line.reading.held,
                    "oldest_s": line.oldest_s, "concurrency": line.reading.concurrency, "retried": line.retried,
                    "dead": line.dead, "dead_letters": line.dead_letters, "full": line.is_full,
                    "paused": line.is_paused, "p50_s": line.p50_s, "p99_s": line.p99_s,
                }
                for line in self.lines()
            ],
            "processes": [
                {
                    "kind": report.kind, "name": report.name, "host": report.host, "pid": report.pid,
                    "queues": report.queues, "running": report.running, "hands": report.hands,
                    "memory_bytes": report.memory_bytes, "problem": report.problem,
                    "live": report.is_fresh(fleet.at),
                }
                for report in fleet.processes.reports
            ],
            "lease_holder": fleet.lease_holder,
            "redis_memory_bytes": fleet.server.memory_bytes,
        }  # fmt: skip

    def render(self, width: int) -> RenderableType:
        """Return the view for a terminal of so many columns."""
        fleet = self._readings[-1]
        return Group(self._headline(fleet), Text(""), self._route_table(width), Text(""), _process_table(fleet, width))

    def _line(
        self, route: Route, fleet: FleetReading, before: FleetReading, elapsed_s: float, latency: list[int] | None
    ) -> RouteLine:
        now, then = (reading.totals.get(route.name, RouteTotals()) for reading in (fleet, before))
        queue = fleet.queues.get(route.queue, QueueReading())
        rates: list[float | None] = [None, None]
        if elapsed_s > 0:
            came = now.received + now.replayed - then.received - then.replayed
            went = now.done + now.dead - then.done - then.dead
            # Counters begin again when Redis is emptied.
            rates = [max(0, came) / elapsed_s, max(0, went) / elapsed_s]
        workers = [report for report in fleet.processes.live("worker") if route.queue in report.queues]
        return RouteLine(
            name=route.name,
            queue=route.queue,
            rate_in=rates[0],
            rate_out=rates[1],
            reading=queue,
            oldest_s=None if queue.oldest_at is None else max(0.0, fleet.at - queue.oldest_at),
            running=sum(report.running for report in workers),
            retried=now.retried,
            dead=now.dead,
            dead_letters=getattr(fleet.dead.get(route.name), "count", 0),
            is_full=route.name in fleet.full_routes,
            is_paused=route.name in fleet.paused,
            p50_s=None if latency is None else quantile(latency, 0.5),
            p99_s=None if latency is None else quantile(latency, 0.99),
        )

    @staticmethod
    def _headline(fleet: FleetReading) -> Text:
        ingest, workers = fleet.processes.live("ingest"), fleet.processes.live("worker")
        parts = [
            f"{len(ingest)} ingest",
            plural(len(workers), "worker"),
            f"{fleet.server.memory_bytes / _MIB:,.0f} MiB Redis",
        ]
        share = fleet.server.memory_share
        if share is not None:
            parts[-1] += f" ({share:.0%})"
        line = Text("RouteMQ  ", "bold") + Text("   ".join(parts))
        for report in (*ingest, *workers):
            if report.problem is not None:
                line.append(f"\n! {printable(report.name)}: {printable(report.problem)}", "red")
        for name, pause in sorted(fleet.paused.items()):
            line.append(f"\n‖ paused: {printable(name)} {pause}".rstrip(), "yellow")
        return line

    def _route_table(self, width: int) -> Table:
        wide = width >= _NARROW
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
        figures = ["in/s", "out/s", "waiting", "oldest"]
        figures += ["delayed", "held", "hands", "retried"] if wide else []
        figures += ["dead", "p50", "p99"]
        # The only column that may be cut: in a narrow terminal the figures are what counts.
        table.add_column("route", overflow="ellipsis", no_wrap=True, max_width=max(12, width - 9 * len(figures)))
        for name in figures:
            table.add_column(name, justify="right", no_wrap=True, min_width=6)
        for line in self.lines():
            reading = line.reading
            out = Text("paused", "yellow") if line.is_paused else _rate(line.rate_out)
            cells = [_rate(line.rate_in), out, _count(reading.waiting), _age(line.oldest_s)]
            if wide:
                hands = Text(str(reading.concurrency), "red" if not reading.workers else "")
                cells += [_count(reading.delayed), _count(reading.held), hands, _count(line.retried)]
            dead = _count(line.dead_letters)
            dead.stylize("bold red" if line.is_full else "yellow" if line.dead_letters else "")
            cells += [dead, _age(line.p50_s), _age(line.p99_s)]
            style = "" if reading.workers else "red"
            table.add_row(Text(printable(line.name), style), *cells)
        return table


def _process_table(fleet: FleetReading, width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    table.add_column("process", overflow="ellipsis", no_wrap=True, max_width=40)
    for name in ("running", "hands", "MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    if width >= _NARROW:
        table.add_column("serves", overflow="ellipsis", no_wrap=True)
    for report in fleet.processes.reports:
        fresh = report.is_fresh(fleet.at)
        cells = [str(report.running), str(report.hands or "·"), f"{report.memory_bytes / _MIB:,.0f}"]
        if width >= _NARROW:
            cells.append(_serves(report))
        name = f"{report.kind} {printable(report.name)}" + (
            "" if fresh else f"  (silent {fleet.at - report.at:,.0f} s)"
        )
        table.add_row(Text(name, "" if fresh else "red"), *cells)
    if not fleet.processes.reports:
        table.add_row(Text("nobody is there", "red"), "", "", *([""] if width >= _NARROW else []))
    return table


def _serves(report: ProcessReport) -> str:
    if report.kind == "worker":
        return printable(", ".join(report.queues))
    return "the non-shared routes too" if report.details.get("holds") else ""


def latency_between(before: Sequence[ProcessReport], after: Sequence[ProcessReport]) -> dict[str, list[int]]:
    """Return, by route, the buckets of what ended between two readings, of all workers together."""
    then = {report.name: report for report in before}
    found: dict[str, list[int]] = {}
    for report in after:
        earlier = _buckets(then.get(report.name))
        for route, counts in _buckets(report).items():
            came = difference(counts, earlier.get(route, []))
            found[route] = [a + b for a, b in zip(found.get(route, [0] * len(came)), came, strict=True)]
    return found


def _buckets(report: ProcessReport | None) -> Mapping[str, list[int]]:
    return {} if report is None else report.details.get("latency", {})


def _rate(value: float | None) -> Text:
    return Text("·" if value is None else f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}")


def _count(value: int) -> Text:
    return Text(f"{value:,}" if value < 1_000_000 else f"{value / 1_000_000:.1f}M")


def _age(seconds: float | None) -> Text:
    if seconds is None:
        return Text("·")
    if seconds < 1:
        return Text(f"{seconds * 1000:.0f}ms")
    if seconds < 100:
        return Text(f"{seconds:.1f}s")
    if seconds < 5400:
        return Text(f"{seconds / 60:.0f}m", "yellow")
    return Text(f"{seconds / 3600:.0f}h", "red")
