"""Every route, for people and for programs."""

import contextlib
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TypedDict

import click
import orjson
import redis
from rich.console import Console
from rich.table import Table
from rich.text import Text

from routemq.cli.explain import explains_errors
from routemq.connections import connect_redis
from routemq.discovery import load_router
from routemq.paused import Pause, PausedRoutes
from routemq.payload_example import example_payload, example_topic
from routemq.queues import Keys
from routemq.refusals import explain
from routemq.route import Route
from routemq.settings import Settings, load_settings
from routemq.text import printable

_REDIS_TIMEOUT_S = 1.0


class BatchRow(TypedDict):
    """What a controller gets at once, as `--json` prints it."""

    max_messages: int
    max_wait_s: float
    max_bytes: int
    gathers: bool


class RouteRow(TypedDict):
    """One route as `--json` prints it."""

    name: str
    template: str
    filter: str
    queue: str
    qos: int
    shared: bool
    worker_count: int
    batch: BatchRow | None
    max_attempts: int
    base_delay_s: float
    max_delay_s: float
    never: list[str]
    timeout_s: float | None
    middleware: list[str]
    controller: str
    source: str
    paused: bool | None
    example: str | None
    example_topic: str | None


def describe(
    route: Route, paused: Collection[str] | None = None, *, example: tuple[str | None, str | None] = (None, None)
) -> RouteRow:
    """Return what there is to say of a route.

    Args:
        paused: Routes that are; None when nobody knows.
        example: A topic and a payload that its controller takes, if it is text.
    """
    return RouteRow(
        name=route.name,
        template=route.template.text,
        filter=route.template.filter,
        queue=route.queue,
        qos=route.qos,
        shared=route.shared,
        worker_count=route.worker_count,
        batch=_batch(route),
        max_attempts=route.retry.max_attempts,
        base_delay_s=route.retry.base_delay_s,
        max_delay_s=route.retry.max_delay_s,
        never=[kind.__qualname__ for kind in route.retry.never],
        timeout_s=route.timeout_s,
        middleware=[f"{type(link).__module__}:{type(link).__qualname__}" for link in route.middleware],
        controller=route.controller,
        source=route.source,
        paused=None if paused is None else route.name in paused,
        example=example[1],
        example_topic=example[0],
    )


def _batch(route: Route) -> BatchRow | None:
    batch = route.batch
    if batch is None:
        return None
    return BatchRow(
        max_messages=batch.max_messages,
        max_wait_s=batch.max_wait_s,
        max_bytes=batch.max_bytes,
        gathers=route.gathers,
    )


@explains_errors
def show_routes(*, as_json: bool, check: bool) -> None:
    """Print every route, and what is paused.

    Args:
        check: Fail when a controller that is given by name cannot be imported; if all can, tell an example.
    """
    # What a module prints while it is imported is not part of the answer.
    with contextlib.redirect_stdout(sys.stderr):
        settings = load_settings()
        found = load_router(settings.routers).routes
        for route in found if check else ():
            route.chain()
        told = found if check and as_json else ()
        examples = {route.name: (example_topic(route), example_payload(route)) for route in told}
    paused = _paused(settings, found)
    rows = [describe(route, paused, example=examples.get(route.name, (None, None))) for route in found]
    if as_json:
        click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
    else:
        _print_routes(rows, paused or {})


@explains_errors
def show_queues() -> None:
    """Print all queues, also those of the own tasks, as JSON."""
    # Only Celery's own app knows where its tasks wait.
    with contextlib.redirect_stdout(sys.stderr):
        from routemq.celery import app

    click.echo(orjson.dumps(sorted(app.queues)))


def _print_routes(rows: list[RouteRow], paused: Mapping[str, Pause]) -> None:
    # Through a pipe a line is a route, however long: it is for grep, not for the eye.
    console = Console(width=None if sys.stdout.isatty() else 1000, highlight=False)
    table = _table(rows)
    for name in sorted(paused):
        click.echo(f"paused: {printable(name)} {paused[name]}".rstrip(), err=True)
    natural = console.measure(table, options=console.options.update(max_width=10_000)).maximum
    if natural <= console.width:
        console.print(table)
        return
    for row in rows:
        console.print(_stanza(row))


def _table(rows: list[RouteRow]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("template", "filter", "queue"):
        table.add_column(heading, no_wrap=True)
    for heading in ("qos", "shared", "worker_count"):
        table.add_column(heading, justify="right", no_wrap=True)
    has_batches = any(row["batch"] for row in rows)
    if has_batches:
        table.add_column("batch", justify="right", no_wrap=True)
    for heading in ("controller", "runs", "timeout", "middleware"):
        table.add_column(heading, no_wrap=True)
    is_any_paused = any(row["paused"] for row in rows)
    if is_any_paused:
        table.add_column("", style="yellow", no_wrap=True)
    for row in rows:
        # As text, not as markup: a topic may hold brackets.
        batch = (_batch_size(row),) if has_batches else ()
        cells = (row["template"], row["filter"], row["queue"], str(row["qos"]), _yes_no(row["shared"]),
                 str(row["worker_count"]), *batch, row["controller"],
                 _runs(row), _timeout(row), _middleware(row))  # fmt: skip
        mark = ("paused" if row["paused"] else "",) if is_any_paused else ()
        table.add_row(*(Text(cell) for cell in (*cells, *mark)))
    return table


def _stanza(row: RouteRow) -> Text:
    """A route in five lines, for a terminal that the table does not fit."""
    return Text.assemble(
        (row["template"], "bold"),
        f"\n  filter {row['filter']}  queue {row['queue']}"
        f"\n  qos {row['qos']}  shared {_yes_no(row['shared'])}  worker_count {row['worker_count']}",
        f"  batch {_batch_size(row)}" if row["batch"] else "",
        ("  paused", "yellow") if row["paused"] else "",
        f"\n  runs {_runs(row)}  timeout {_timeout(row)}  middleware {_middleware(row)}",
        f"\n  {row['controller']}",
    )


def _paused(settings: Settings, routes: Sequence[Route]) -> dict[str, Pause] | None:
    """Return the paused routes; None when Redis does not say, which is no reason not to show the routes."""
    with connect_redis(settings, timeout_s=_REDIS_TIMEOUT_S) as client:
        try:
            return PausedRoutes(client, Keys(settings.key_prefix)).read(routes)
        except redis.RedisError as exc:
            click.echo(f"What is paused is not known: {explain(exc)}", err=True)
            return None


def _batch_size(row: RouteRow) -> str:
    """Return how many messages a run takes: one if a middleware keeps them apart."""
    batch = row["batch"]
    if batch is None:
        return ""
    return str(batch["max_messages"]) if batch["gathers"] else "one by one"


def _runs(row: RouteRow) -> str:
    """Return how often a message is run, and how long it waits in between: `3, after 1 s…4 s`."""
    most = row["max_attempts"]
    if most == 1:
        return "1"
    first_s, last_s = (min(row["max_delay_s"], row["base_delay_s"] * 2.0**step) for step in (0, min(most - 2, 64)))
    return f"{most}, after {first_s:g}{f'…{last_s:g}' if last_s != first_s else ''} s"


def _timeout(row: RouteRow) -> str:
    return "-" if row["timeout_s"] is None else f"{row['timeout_s']:g} s"


def _middleware(row: RouteRow) -> str:
    return ", ".join(name.rpartition(":")[2] for name in row["middleware"]) or "-"


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"
