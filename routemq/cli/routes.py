"""`routemq routes`: which topics go to which controller, on which queue."""

import contextlib
import sys
from typing import TypedDict

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from routemq.cli.explain import explains_errors
from routemq.discovery import load_router
from routemq.routing import Route
from routemq.settings import load_settings


class RouteRow(TypedDict):
    """One route as `--json` prints it."""

    name: str
    template: str
    filter: str
    queue: str
    qos: int
    shared: bool
    worker_count: int
    controller: str
    source: str


def describe(route: Route) -> RouteRow:
    """Return what there is to say of a route."""
    return RouteRow(
        name=route.name,
        template=route.template.text,
        filter=route.template.filter,
        queue=route.queue,
        qos=route.qos,
        shared=route.shared,
        worker_count=route.worker_count,
        controller=route.controller,
        source=route.source,
    )


@click.command(
    short_help="Every route: topics, queue, controller.",
    help="Show every route: which topics go to which controller, on which queue.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, with where each route is declared.")
@click.option("--check", is_flag=True, help="Fail when a controller that is given by name cannot be imported.")
@click.option("--queues", is_flag=True, hidden=True, help="Print all queues, also those of the own tasks, as JSON.")
@explains_errors
def routes(as_json: bool, check: bool, queues: bool) -> None:
    if queues:
        click.echo(orjson.dumps(_all_queues()))
        return
    # What a module prints while it is imported is not part of the answer.
    with contextlib.redirect_stdout(sys.stderr):
        found = load_router(load_settings().routers).routes
        for route in found if check else ():
            route.chain()
    rows = [describe(route) for route in found]
    if as_json:
        click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
        return
    # Through a pipe a line is a route, however long: it is for grep, not for the eye.
    console = Console(width=None if sys.stdout.isatty() else 1000, highlight=False)
    table = _table(rows)
    natural = console.measure(table, options=console.options.update(max_width=10_000)).maximum
    if natural <= console.width:
        console.print(table)
        return
    for row in rows:
        console.print(_stanza(row))


def _all_queues() -> list[str]:
    # Only Celery's own app knows where its tasks wait.
    with contextlib.redirect_stdout(sys.stderr):
        from routemq.celery import app

    return sorted(app.queues)


def _table(rows: list[RouteRow]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("template", "filter", "queue"):
        table.add_column(heading, no_wrap=True)
    for heading in ("qos", "shared", "worker_count"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("controller", no_wrap=True)
    for row in rows:
        # As text, not as markup: a topic may hold brackets.
        cells = (row["template"], row["filter"], row["queue"], str(row["qos"]), _yes_no(row["shared"]),
                 str(row["worker_count"]), row["controller"])  # fmt: skip
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _stanza(row: RouteRow) -> Text:
    """A route in four lines, for a terminal that the table does not fit."""
    return Text.assemble(
        (row["template"], "bold"),
        f"\n  filter {row['filter']}  queue {row['queue']}"
        f"\n  qos {row['qos']}  shared {_yes_no(row['shared'])}  worker_count {row['worker_count']}"
        f"\n  {row['controller']}",
    )


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"
