"""`dlq list` and `dlq show`."""

import shlex
import sys
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from routemq.cli.dlq.frame import open_store, say
from routemq.cli.dlq.options import as_options, filter_options, wanted
from routemq.cli.dlq.rendering import age, payload_text, size
from routemq.cli.dlq.searching import newest
from routemq.cli.explain import explains_errors
from routemq.dead_letters import DeadLetter, OpenedLetter, Page
from routemq.dead_letters.desk import PayloadView, attempt_object, letter_object
from routemq.dead_letters.times import moment
from routemq.text import printable

_WIDE = 130


@click.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Letters on a page.")
@click.option("--after", help="Where the page begins: what the page before says, or a letter's id.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@explains_errors
def list_letters(limit: int, after: str | None, as_json: bool, **filters: Any) -> None:
    """Show dead letters, the newest first.

    Route, reason, fingerprint and times are indexed: such a page is quick whatever there is. For the other filters
    letters are read one by one until the page is full.
    """
    store = open_store()
    now = store.now()
    chosen = wanted(filters, now=now)
    page = newest(store, chosen, limit=limit, after=after)
    if as_json:
        for letter in page.letters:
            click.echo(orjson.dumps(letter_object(letter)))
        if page.next is not None:
            say(f"next page: --after {shlex.quote(str(page.next))}")
        return
    if not page.letters:
        say("There are no dead letters." if chosen.is_empty else f"No dead letter matches {chosen}.")
        return
    console = Console(highlight=False)
    console.print(_wide_table(page, now) if console.width >= _WIDE else _narrow_table(page, now))
    if page.next is not None:
        options = " ".join(part for part in (as_options(chosen), f"--limit {limit}" if limit != 20 else "") if part)
        total = f" of {store.count(chosen):,}" if chosen.is_indexed else ""
        say(f"{len(page.letters)}{total}, newest first. Next page:")
        say(f"  routemq dlq list {options}{' ' if options else ''}--after {shlex.quote(str(page.next))}")


@click.command()
@click.argument("name", metavar="ID")
@click.option("--payload", "payload_only", is_flag=True, help="Write the payload alone, byte for byte.")
@click.option("--raw", "raw_only", is_flag=True, help="Write the whole message alone, as it lay on its queue.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@explains_errors
def show(name: str, payload_only: bool, raw_only: bool, as_json: bool) -> None:
    """Show one dead letter: what it says, what failed, and when. A Celery task id names its last dead letter."""
    store = open_store()
    opened = store.get(name if ":" in name else store.find(name) or name)
    if payload_only or raw_only:
        sys.stdout.buffer.write(opened.payload if payload_only else opened.raw)
    elif as_json:
        click.echo(orjson.dumps(opened_as_object(opened)))
    else:
        _print_letter(opened, store.now())


def opened_as_object(opened: OpenedLetter) -> dict[str, Any]:
    """Return a letter with all that is kept of it for `--json`."""
    found = letter_object(opened.letter) | {
        "traceback": opened.letter.traceback,
        "runs": [attempt_object(attempt) for attempt in opened.attempts],
        "replays": [
            {"at": replay.at, "by": replay.by, "error": replay.error}
            for replay in (opened.task.replays if opened.task else ())
        ],
        "problem": opened.problem,
    }  # fmt: skip
    try:
        return found | {"payload": opened.payload.decode()}
    except UnicodeDecodeError:
        return found | {"payload_hex": opened.payload.hex()}


def _wide_table(page: Page, now: float) -> Table:
    table = Table(box=None, expand=True, header_style="dim", pad_edge=False)
    table.add_column("died", justify="right", no_wrap=True)
    table.add_column("id", no_wrap=True, min_width=38)
    table.add_column("reason", no_wrap=True)
    table.add_column("topic", no_wrap=True, overflow="ellipsis", ratio=2)
    table.add_column("error", no_wrap=True, overflow="ellipsis", ratio=3)
    for letter in page.letters:
        topic, error = Text(printable(letter.topic or letter.route)), Text(printable(letter.error))
        table.add_row(age(now - letter.died_at), Text(printable(letter.id)), _reason(letter), topic, error)
    return table


def _narrow_table(page: Page, now: float) -> Table:
    table = Table(box=None, expand=True, show_header=False, pad_edge=False)
    table.add_column(justify="right", no_wrap=True, min_width=6)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for letter in page.letters:
        told = Text(printable(letter.topic or letter.route), style="bold")
        told.append("\n" + printable(letter.error), style="not bold")
        told.append("\n" + printable(letter.id), style="not bold dim")
        table.add_row(age(now - letter.died_at), _reason(letter), told)
    return table


def _reason(letter: DeadLetter) -> Text:
    reason = Text(letter.reason, style="red" if letter.reason in ("failed", "timeout", "poison") else "yellow")
    if letter.generation:
        reason.append(f" ↻{letter.generation}", style="magenta")
    return reason


def _print_letter(opened: OpenedLetter, now: float) -> None:
    letter, task = opened.letter, opened.task
    console = Console(highlight=False)
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("id", Text(printable(letter.id)))
    facts.add_row("topic", Text("not readable" if letter.topic is None else printable(letter.topic), style="bold"))
    facts.add_row("route", Text(printable(f"{letter.route}  (queue {letter.queue})")))
    facts.add_row(
        "died",
        Text(f"{moment(letter.died_at)}, {age(now - letter.died_at)} ago, on {printable(letter.worker or '?')}"),
    )
    if task is not None and task.envelope.received_at:
        facts.add_row("received", moment(task.envelope.received_at))
    facts.add_row("reason", _reason(letter))
    facts.add_row("error", Text(printable(letter.error), style="red"))
    facts.add_row("fingerprint", letter.fingerprint)
    if letter.redacted:
        facts.add_row("not kept", Text(printable(", ".join(letter.redacted))))
    console.print(facts)
    if opened.problem:
        console.print(Text(f"\nIts bytes are no message: {printable(opened.problem)}", style="yellow"))
    kind, shown = payload_text(PayloadView.of(opened.payload))
    what = "message" if task is None else "payload"
    _heading(console, f"{what}: {size(len(opened.payload))}, {kind}" if shown else f"{what}: empty")
    if shown:
        console.print(Text(shown), soft_wrap=True)
    _print_past(console, opened)
    if letter.traceback:
        _heading(console, "traceback, the innermost frame last")
        console.print(Text(printable(f"{letter.exception}: {letter.message}", lines=True), style="red"), soft_wrap=True)
        console.print(Text(printable(letter.traceback.rstrip("\n"), lines=True)), soft_wrap=True)


def _print_past(console: Console, opened: OpenedLetter) -> None:
    letter, task = opened.letter, opened.task
    kept = len(opened.attempts)
    missing = f", the last {kept}" if letter.attempts > kept else ""
    _heading(console, f"{letter.attempts} failed {'run' if letter.attempts == 1 else 'runs'}{missing}")
    for number, attempt in enumerate(opened.attempts, letter.attempts - kept + 1):
        console.print(
            Text(f"{number}. {moment(attempt.at)}  {printable(attempt.error)}  ({printable(attempt.worker or '?')})")
        )
    if letter.generation:
        _heading(console, f"replayed {letter.generation} {'time' if letter.generation == 1 else 'times'} before")
        for replay in task.replays if task else ():
            console.print(Text(f"{moment(replay.at)}  by {printable(replay.by)}, after {printable(replay.error)}"))


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold cyan"))
