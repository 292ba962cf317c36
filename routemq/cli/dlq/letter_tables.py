"""Dead letters on a terminal: a page of them, and one with all that is kept of it."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from routemq.cli.dlq.rendering import age, payload_text, size, wide_console
from routemq.dead_letters import DeadLetter, OpenedLetter, Page
from routemq.dead_letters.desk import PayloadView
from routemq.dead_letters.frames import raised_by
from routemq.dead_letters.times import moment
from routemq.text import plural, printable

if TYPE_CHECKING:
    from routemq.dead_letters.decoded import DecodedPayload

_WIDE = 130


def print_page(page: Page, now: float) -> None:
    """Print a letter a line, or in three where the terminal is narrow; through a pipe nothing is cut."""
    console = wide_console()
    is_wide = console.width >= _WIDE
    console.print(_wide_table(page, now, expand=console.is_terminal) if is_wide else _narrow_table(page, now))


def print_letter(opened: OpenedLetter, now: float, *, decoded: "DecodedPayload | None" = None) -> None:
    """Print what it says, what failed, and when."""
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
    for raised in raised_by(letter.traceback)[:1]:
        if raised.place is not None:
            facts.add_row("raised in", Text(printable(raised.place)))
    facts.add_row("fingerprint", letter.fingerprint)
    if letter.release is not None:
        facts.add_row("release", Text(printable(letter.release)))
    if letter.redacted:
        facts.add_row("not kept", Text(printable(", ".join(letter.redacted))))
    console.print(facts)
    if opened.problem:
        console.print(Text(f"\nIts bytes are no message: {printable(opened.problem)}", style="yellow"))
    kind, shown = payload_text(PayloadView.of(opened.payload if decoded is None else decoded.json.encode()))
    kind = kind if decoded is None else f"{decoded.codec}, decoded"
    what = "message" if task is None else "payload"
    _heading(console, f"{what}: {size(len(opened.payload))}, {kind}" if shown else f"{what}: empty")
    if shown:
        console.print(Text(shown), soft_wrap=True)
    _print_past(console, opened)
    if letter.traceback:
        _heading(console, "traceback, the innermost frame last")
        console.print(Text(printable(f"{letter.exception}: {letter.message}", lines=True), style="red"), soft_wrap=True)
        console.print(Text(printable(letter.traceback.rstrip("\n"), lines=True)), soft_wrap=True)


def _wide_table(page: Page, now: float, *, expand: bool) -> Table:
    table = Table(box=None, expand=expand, header_style="dim", pad_edge=False)
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


def _print_past(console: Console, opened: OpenedLetter) -> None:
    letter, task = opened.letter, opened.task
    kept = len(opened.attempts)
    missing = f", the last {kept}" if letter.attempts > kept else ""
    _heading(console, f"{plural(letter.attempts, 'failed run')}{missing}")
    for number, attempt in enumerate(opened.attempts, letter.attempts - kept + 1):
        console.print(
            Text(f"{number}. {moment(attempt.at)}  {printable(attempt.error)}  ({printable(attempt.worker or '?')})")
        )
    if letter.generation:
        _heading(console, f"replayed {plural(letter.generation, 'time')} before")
        for replay in task.replays if task else ():
            console.print(Text(f"{moment(replay.at)}  by {printable(replay.by)}, after {printable(replay.error)}"))


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold cyan"))
