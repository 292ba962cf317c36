"""`routemq history`: what a route did in the last day or month."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from routemq.cli.dlq.rendering import wide_console
from routemq.cli.explain import explains_errors
from routemq.cli.pause import UnknownRouteNameError
from routemq.connections import connect_redis
from routemq.dead_letters.times import moment
from routemq.discovery import load_router
from routemq.metrics.history import read_history
from routemq.metrics.history_columns import TIMES, columns_of
from routemq.metrics.history_grain import COUNTS, Span
from routemq.metrics.history_room import MOST_ROUTES, NoHistoryRoomError
from routemq.queues import Keys
from routemq.settings import load_settings

_STEPS_S: Mapping[Span, int] = {"day": 3600, "month": 86_400}
_HEADINGS = ("from", "in", "done", "failed", "dead", "run p50", "p95", "wait p50", "p95")


@click.command(short_help="What a route did in the last day or month.")
@click.argument("route")
@click.option("--month", is_flag=True, help="The last 31 days, instead of the last 24 hours.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with minutes of a day, hours of a month.")
@explains_errors
def history(*, route: str, month: bool, as_json: bool) -> None:
    """Show what came in, was done, failed and died, how long runs took, and how long messages waited for the first one.

    A line is an hour, or a day with --month, in UTC. A dash stands where nobody looked: no worker was there, and no
    ingest process.
    """
    # What a module prints while it is imported is not part of the answer.
    with contextlib.redirect_stdout(sys.stderr):
        settings = load_settings()
        router = load_router(settings.routers)
    span: Span = "month" if month else "day"
    keys = Keys(settings.key_prefix)
    step_s = None if as_json else _STEPS_S[span]
    with connect_redis(settings) as client:
        if router.get(route) is None and not client.exists(keys.counters(route)):
            raise UnknownRouteNameError(unknown=[route], known=[each.name for each in router.routes])
        found = columns_of(read_history(client, keys, route, span=span, step_s=step_s))
    if as_json:
        click.echo(json.dumps(found | {"span": span}))
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in _HEADINGS:
        table.add_column(name, justify="left" if name == "from" else "right", no_wrap=True)
    for cells in _rows(found):
        table.add_row(*map(Text, cells))
    wide_console().print(table)
    if found["is_left_out"]:
        click.echo(str(NoHistoryRoomError(routes=[route], most=MOST_ROUTES)), err=True)


def _rows(found: Mapping[str, Any]) -> Iterator[list[str]]:
    count = len(found["received"])
    slots = [{name: found[name][index] for name in (*COUNTS, *TIMES)} for index in range(count)]
    for index, slot in enumerate(slots):
        yield [moment(found["from"] + index * found["step_s"])[5:16] + "Z", *_cells(slot)]
    yield ["in all", *_cells(found["sums"])]


def _cells(slot: Mapping[str, Any]) -> list[str]:
    if slot["received"] is None:
        return ["-"] * (len(_HEADINGS) - 1)
    counts = (slot["received"] + slot["replayed"], slot["done"], slot["retried"], slot["dead"])
    return [*(f"{count:,}" for count in counts), *(_time(slot[name]) for name in TIMES)]


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return (
        f"{seconds * 1000:.3g} ms"
        if seconds < 1
        else f"{seconds:.3g} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
    )
