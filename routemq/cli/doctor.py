"""`routemq doctor`: what is wrong with this set-up, and what mends it."""

import contextlib
import json

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text
from routemq_ops.doctor import Finding, Level, examine

from routemq.cli.explain import explains_errors
from routemq.discovery import load_router
from routemq.settings import load_settings
from routemq.text import printable

_MARKS = {
    Level.SKIP: ("skip", "dim"),
    Level.PASS: ("pass", "green"),
    Level.WARN: ("warn", "yellow"),
    Level.FAIL: ("FAIL", "bold red"),
}


@click.command(short_help="What is wrong with this set-up, and what mends it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.option("--probe/--no-probe", "live", default=True, help="Try the broker with messages under routemq/doctor/.")
@explains_errors
def doctor(*, as_json: bool, live: bool) -> None:
    """Check the MQTT broker, Redis and the fleet.

    Every finding passes, warns or fails, and says what mends it; what was not looked at is skipped, and is neither. The
    doctor subscribes under a share name of its own and takes no message of the fleet's.

    Exit code 0: all is well; 1: something to look at; 2: something does not work, or messages may be lost.
    """
    settings = load_settings()
    router = load_router(settings.routers)
    findings: list[Finding] = []
    console = Console(highlight=False)
    with console.status("examining …") if console.is_terminal and not as_json else contextlib.nullcontext():
        findings.extend(examine(settings, router, live=live))
    worst = max(Level.PASS, *(finding.level for finding in findings))
    if as_json:
        report = {"worst": worst.name.lower(), "findings": [finding.to_json() for finding in findings]}
        click.echo(json.dumps(report, indent=2))
    else:
        _show(console, findings)
    raise SystemExit(int(worst))


def _show(console: Console, findings: list[Finding]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(style="bold", max_width=22)
    table.add_column(overflow="fold")
    for finding in findings:
        mark, style = _MARKS[finding.level]
        text = Text(printable(finding.text))
        if finding.mend:
            text.append(f"\n→ {printable(finding.mend)}", "cyan")
        table.add_row(Text(mark, style), Text(finding.check), text)
    console.print(table)
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    skipped = f", {counts[Level.SKIP]} skipped" if counts[Level.SKIP] else ""
    console.print(f"\n{counts[Level.PASS]} pass, {counts[Level.WARN]} warn, {counts[Level.FAIL]} fail{skipped}")
