"""`routemq retries`: what is going to be run again and when."""

import contextlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict

import click
from rich.table import Table
from rich.text import Text

from routemq.cli.dlq.rendering import age, wide_console
from routemq.cli.explain import explains_errors
from routemq.cli.pause import UnknownRouteNameError
from routemq.connections import connect_redis
from routemq.dead_letters.times import moment
from routemq.discovery import load_router
from routemq.queues import Keys
from routemq.retries import Kind, WaitingMessage, WaitingReading, read_waiting
from routemq.settings import load_settings

_WIDE = 130


@click.command(short_help="What failed and is run again, and when.")
@click.argument("route", required=False)
@click.option("--set-aside", is_flag=True, help="What waits until its paused route is resumed, instead.")
@click.option("--limit", "most", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@explains_errors
def retries(*, route: str | None, set_aside: bool, most: int, as_json: bool) -> None:
    """Show the messages that wait for another run, of all routes or of one, the next one first.

    Those of the application's own Celery tasks too; ROUTE may be the name of one.

    Of each: when it is due, its route, its id, how many runs have failed, and what the last one said.
    """
    # What a module prints while it is imported is not part of the answer.
    with contextlib.redirect_stdout(sys.stderr):
        settings = load_settings()
        router = load_router(settings.routers)
        queues, tasks = set(router.queues), frozenset[str]()
        if settings.task_modules:
            # It takes a second to load.
            from routemq.celery import app

            queues, tasks = queues.union(app.queues), frozenset(app.tasks)
    kind: Kind = "aside" if set_aside else "later"
    with connect_redis(settings) as client:
        found = read_waiting(client, Keys(settings.key_prefix), sorted(queues), kind=kind, most=most, route=route)
    # Of a route that is not served any more something may wait; of a name that is mistyped nothing ever will.
    is_known = route is None or router.get(route) is not None or route in tasks
    if route is not None and not is_known and not found.messages and found.is_whole(kind):
        raise UnknownRouteNameError(unknown=[route], known=[each.name for each in router.routes])
    runs = {each.name: each.retry.max_attempts for each in router.routes}
    if as_json:
        messages = [asdict(each) | {"max_attempts": runs.get(each.route)} for each in found.messages]
        told = {"later": found.later, "aside": found.aside, "looked_at": found.looked_at, "problems": found.problems}
        click.echo(json.dumps({"messages": messages, **told, "is_whole": found.is_whole(kind), "now": found.now}))
        sys.exit(1 if found.problems else 0)
    _print(found, runs)
    for line in (*found.problems, _rest(found, kind, route, most)):
        if line:
            click.echo(line, err=True)
    sys.exit(1 if found.problems else 0)


def _rest(found: WaitingReading, kind: Kind, route: str | None, most: int) -> str:
    """Return what there is beside that which was shown."""
    count, what = (found.later, "wait for another run") if kind == "later" else (found.aside, "are set aside")
    in_all = f"{count:,} {what}" + ("" if route is None else ", of all routes")
    if len(found.messages) >= most and not found.is_whole(kind):
        return f"These are the first {most:,}; {in_all}."
    if not found.is_whole(kind):
        return f"Only the first {found.looked_at:,} were looked at; {in_all}."
    nothing = "Nothing waits for another run" if kind == "later" else "Nothing is set aside"
    return "" if found.messages else f"{nothing}{' where it can be read' if found.problems else ''}."


def _print(found: WaitingReading, runs: Mapping[str, int]) -> None:
    console = wide_console()
    if not found.messages:
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    names = ("due", "failed", "route", "message", "id", "the last failure")
    if console.width < _WIDE:
        for each in found.messages:
            due, failed, route, about, identity, error = _cells(each, found.now, runs)
            console.print(Text.assemble((due, "bold"), "  ", route, f"  failed {failed}" if failed else ""))
            for text, style in ((about, "dim"), (identity, "dim"), (error, "red")):
                if text:
                    # A pipe has all of it, and so has --json.
                    console.print(Text(f"  {text}", style), no_wrap=True, overflow="ellipsis")
        return
    for name in names:
        table.add_column(name, no_wrap=name != "the last failure", overflow="fold")
    for each in found.messages:
        table.add_row(*(Text(cell) for cell in _cells(each, found.now, runs)))
    console.print(table)


def _cells(message: WaitingMessage, now: float, runs: Mapping[str, int]) -> tuple[str, str, str, str, str, str]:
    most = runs.get(message.route)
    return (
        _when(message, now),
        (f"{message.attempts}" + ("" if most is None else f" of {most}")) if message.id else "",
        message.route or f"(not readable, on queue {message.queue})",
        message.about,
        message.id,
        message.error,
    )


def _when(message: WaitingMessage, now: float) -> str:
    if message.due_at is not None:
        return f"in {age(message.due_at - now)}" if message.due_at > now else "now"
    return "-" if message.aside_since is None else f"since {moment(message.aside_since)}"
