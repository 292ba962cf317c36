"""`dlq stats`, `dlq tail` and `dlq audit`."""

import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from routemq.cli.dlq.frame import INTERRUPTED, open_store, say, say_none
from routemq.cli.dlq.options import filter_options, wanted
from routemq.cli.dlq.rendering import age, bar_chart, wide_console
from routemq.cli.dlq.searching import matching
from routemq.cli.explain import explains_errors
from routemq.dead_letters import DeadLetter, DeadLetters, LetterFilter, LetterGroup, LetterStats
from routemq.dead_letters.census import read_matching
from routemq.dead_letters.desk import group_object, letter_object
from routemq.dead_letters.order import Position
from routemq.dead_letters.retention import Overdue
from routemq.dead_letters.times import moment
from routemq.settings import load_settings
from routemq.text import plural, printable

_POLL_S = 0.5
_BUCKETS = 40
_MOST_AT_ONCE = 1000


@click.command(short_help="Count dead letters by route, reason and error.")
@filter_options
@click.option("--top", type=click.IntRange(1, 1000), default=10, show_default=True, help="Errors to show.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@explains_errors
def stats(top: int, as_json: bool, **filters: Any) -> None:
    """Count dead letters by route, reason and error, with a chart over time; of all, or of those that match.

    By route and times the indexes tell all; with another filter letters are read one by one.
    """
    store = open_store()
    now = store.now()
    chosen = wanted(filters, now=now)
    overdue = Overdue.of(load_settings(), store) if chosen.is_empty else None
    console = wide_console()
    buckets = _BUCKETS if as_json else max(10, min(60, console.width - 14))
    found, over_time = read_matching(store, matching(store, chosen), chosen, most_errors=top, buckets=buckets)
    if as_json:
        more = {
            "over_time": [asdict(bucket) for bucket in over_time],
            "overdue": None if overdue is None else asdict(overdue),
        }
        click.echo(orjson.dumps(_stats_object(found) | more))
        return
    if not found.total:
        say_none(store, chosen)
        return
    for route, queue in found.full_routes.items():
        console.print(
            Text(printable(f"FULL: {route} has as many dead letters as it may; its queue {queue} is not consumed."),
                 style="bold red")
        )  # fmt: skip
    if found.archive_problem is not None:
        console.print(Text(printable(f"NOT ARCHIVED: {found.archive_problem}"), style="bold red"))
    if overdue is not None:
        told = f"{overdue.count:,} {'is' if overdue.count == 1 else 'are'} older than DLQ_RETENTION_DAYS={overdue.days}"
        console.print(Text(f"{told}; without DLQ_ARCHIVE_DIR none is removed.", style="yellow"))
        console.print(Text(f"Write them to a file and remove them: {overdue.mend}", style="yellow"))
        console.print()
    for table in (_groups("route", found.routes, now), _groups("reason", found.reasons, now), _errors(found, now)):
        table.expand = console.is_terminal
        console.print(table)
        console.print()
    console.print(Text(f"{plural(found.total, 'dead letter')} by time of death", style="bold cyan"))
    for line in bar_chart(over_time):
        console.print(Text(line))


@click.command()
@filter_options
@click.option("--last", type=click.IntRange(0, 1000), default=5, show_default=True, help="Letters that are there now.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@explains_errors
def tail(last: int, as_json: bool, **filters: Any) -> None:
    """Follow new dead letters until Ctrl-C."""
    store = open_store()
    chosen = wanted(filters, now=store.now())
    newest = store.newest()
    console = Console(highlight=False, soft_wrap=True)
    try:
        _print_lines(console, reversed(store.page(chosen, limit=last).letters if last else ()), as_json=as_json)
        while True:
            newest = _follow(store, chosen, newest, console, as_json=as_json)
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


@click.command(short_help="Who changed the dead letters, and when.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Changes to show.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@explains_errors
def audit(limit: int, as_json: bool) -> None:
    """Show who changed the dead letters, when, and how many; the newest first."""
    entries = open_store().audit(limit=limit)
    if as_json:
        for entry in entries:
            click.echo(orjson.dumps(asdict(entry)))
        return
    if not entries:
        say("Nobody has changed the dead letters yet.")
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("when", "who", "what"):
        table.add_column(name, no_wrap=True)
    table.add_column("letters", justify="right", no_wrap=True)
    table.add_column("of", overflow="fold")
    for entry in entries:
        who, detail = Text(printable(entry.who)), Text(printable(entry.detail))
        table.add_row(moment(entry.at), who, entry.action, f"{entry.count:,}", detail)
    wide_console().print(table)


def _follow(
    store: DeadLetters, chosen: LetterFilter, newest: Position | None, console: Console, *, as_json: bool
) -> Position | None:
    """Print what came after a position, and return the new one."""
    for number, (position, letter) in enumerate(store.walk(chosen, after=newest, oldest_first=True)):
        if letter is not None:
            _print_lines(console, [letter], as_json=as_json)
        newest = position
        if number == _MOST_AT_ONCE:
            break
    return newest


def _print_lines(console: Console, letters: Iterable[DeadLetter], *, as_json: bool) -> None:
    for letter in letters:
        if as_json:
            click.echo(orjson.dumps(letter_object(letter)))
            continue
        line = Text(moment(letter.died_at), style="dim")
        line.append(f"  {letter.reason}", style="red")
        line.append(f"  {printable(letter.topic or letter.route)}", style="bold")
        line.append(f"  {printable(letter.error)}", style="default")
        line.append(f"  {printable(letter.id)}", style="dim")
        console.print(line)


def _groups(title: str, groups: Iterable[LetterGroup], now: float) -> Table:
    table = _table(title)
    for group in groups:
        name = Text(printable(group.name))
        table.add_row(f"{group.count:,}", age(now - group.oldest_at), age(now - group.newest_at), name)
    return table


def _errors(found: LetterStats, now: float) -> Table:
    hidden = found.error_count - len(found.errors)
    table = _table(
        "error" if hidden <= 0 else f"error (the {len(found.errors)} most frequent of {found.error_count:,})"
    )
    for error in found.errors:
        told = Text(f"{error.name}  ", style="dim")
        told.append("and other errors, such as " if error.is_rest else "", style="dim")
        told.append(printable(error.example.error), style="red")
        told.append(f"\n{printable(', '.join(error.routes))}", style="dim")
        table.add_row(f"{error.count:,}", age(now - error.oldest_at), age(now - error.newest_at), told)
    return table


def _table(title: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1))
    table.add_column("letters", justify="right", no_wrap=True, min_width=9)
    table.add_column("oldest", justify="right", no_wrap=True, min_width=7)
    table.add_column("newest", justify="right", no_wrap=True, min_width=7)
    table.add_column(Text(title, style="bold cyan"), no_wrap=True, overflow="ellipsis", ratio=1)
    return table


def _stats_object(found: LetterStats) -> dict[str, Any]:
    errors = [
        {
            "fingerprint": error.name, "routes": list(error.routes), "count": error.count, "oldest_at": error.oldest_at,
            "newest_at": error.newest_at, "is_rest": error.is_rest, "example": letter_object(error.example),
        }
        for error in found.errors
    ]  # fmt: skip
    return {
        "total": found.total,
        "routes": [group_object(group) for group in found.routes],
        "reasons": [group_object(group) for group in found.reasons],
        "errors": errors,
        "error_count": found.error_count,
        "full_routes": found.full_routes,
        "archive_problem": found.archive_problem,
    }
