"""`routemq dev` in the foreground: start, show, reload, stop."""

import json
import logging
import shlex
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from routemq.errors import RouteMQError
from routemq.supervision.processes import Supervisor
from routemq.supervision.stop import Stop, take_stop_signals
from routemq.supervision.terminal_log import TerminalLog, TerminalLogHandler
from routemq_dev.dev_session import FLEET, DevOptions, DevSession
from routemq_dev.run_notes import RunNotes

USUAL_REDIS_URL = "redis://127.0.0.1:6379/0"

_FLEET_REPORT_S = 15.0
_SAMPLE_ROUTE = "sensors/{device_id}/data"


@dataclass(slots=True)
class FleetReport:
    """What the simulated fleet says of itself."""

    published: int = 0
    confirmed: int = 0
    final: bool = False

    def read(self, line: str) -> bool:
        """Take a line of its output; False when the line is no report."""
        if not line.startswith("{"):
            return False
        found = json.loads(line)
        self.published, self.confirmed, self.final = found["published"], found["confirmed"], found["final"]
        return True


class DevRunner:
    """One run of `routemq dev`.

    Args:
        console: The log and the banner are shown on it.
        level: Of the log.

    Attributes:
        fleet: What the simulated fleet has published.
        killed: Whether somebody was impatient, and everything was ended with SIGKILL.
    """

    def __init__(self, options: DevOptions, console: Console, *, level: str) -> None:
        self.fleet = FleetReport()
        self.log = TerminalLog(console, level=level)
        self.killed = False
        self._fleet_told = 0.0
        self._asked, self._asked_again = Stop(), Stop()
        self.supervisor = Supervisor(self._line)
        self.session = DevSession(options, self.log, self.supervisor)
        self.notes = RunNotes(partial(self.log.note, level="WARNING"), self._say_dead)

    def __enter__(self) -> Self:
        """Take over the signals and this process's log."""
        handler = TerminalLogHandler(self.log)
        logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
        self._asked.then(self._announce_stop)
        self._asked_again.then(self._kill)
        take_stop_signals(self._on_signal)
        return self

    def __exit__(self, *_exc: object) -> None:
        """Stop everything that still runs."""
        self.session.stopping.set()
        self.session.stop()
        self.notes.flush(everything=True)
        self.supervisor.close()

    def follow_changes(self) -> None:
        """Reload on every change of the project's code, until the end is asked for."""
        from routemq_dev.reloading import Changes

        stopping = self.session.stopping
        changes = Changes(self.session.options.project, stopping)
        try:
            for changed in changes:
                self._reload(changed, out_of_date=lambda: bool(changes))
        except OSError as exc:
            self.log.say(f"changes are not seen, restart by hand: {exc}", style="yellow")
        stopping.wait()

    def _reload(self, changed: tuple[str, ...], *, out_of_date: Callable[[], bool]) -> None:
        started = time.monotonic()
        self.log.say(f"changed: {', '.join(changed[:5])}{' …' if len(changed) > 5 else ''}")
        try:
            self.session.reload(changed, out_of_date=out_of_date)
        except RouteMQError as exc:
            mend = "The code from before goes on running." if self.session.serves else "Correct it and save."
            self.log.say(f"{exc}\n{mend}", style="red")
        else:
            if not (self.session.stopping.is_set() or out_of_date()):
                self.log.say(f"reloaded in {time.monotonic() - started:.1f} s")

    def _line(self, name: str, line: str) -> None:
        if name != FLEET or not self.fleet.read(line):
            if not self.notes.is_folded(name, line):
                self.log.line(name, line)
                self.notes.shown(line)
        elif self.fleet.final or time.monotonic() - self._fleet_told >= _FLEET_REPORT_S:
            self._fleet_told = time.monotonic()
            self.log.note(name, f"published {self.fleet.published}, confirmed {self.fleet.confirmed}")

    def _say_dead(self, message_id: str) -> None:
        self.log.command(dlq_command(self.session.env, f"show {shlex.quote(message_id)}"))

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.session.stopping.is_set() and number == signal.SIGINT:
            self._asked_again.set()
        else:
            self._asked.set()
        self.session.stopping.set()

    def _announce_stop(self) -> None:
        self.log.say("stopping; Ctrl-C again kills at once")

    def _kill(self) -> None:
        self.killed = True
        self.log.say("killing", style="red")
        self.supervisor.kill()


def show_banner(console: Console, session: DevSession, *, hint: str) -> None:
    """Say what runs, where, and what to try."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        "MQTT": session.broker_is,
        "Redis": session.redis_is,
        "Flower": session.flower_url or "",
        "Queues": ", ".join(session.router.queues),
    }
    for name, text in rows.items():
        if text:
            table.add_row(name, Text(text))
    console.print()
    console.print(table)
    console.print()
    # Commands stand at the beginning of a line, to be copied whole.
    commands = [example_line(session), dlq_command(session.env, "list")]
    for command in filter(None, commands):
        console.print(Text(command, "cyan"), soft_wrap=True)
    console.print()
    console.print(Text(f"{hint}\n", "dim"))


def example_line(session: DevSession) -> str:
    """Return a command that publishes to one of the routes from another terminal; empty when there is none."""
    example = session.examples.get(_SAMPLE_ROUTE) or next(iter(session.examples.values()), None)
    if example is None:
        return ""
    port = session.env.get("MQTT_PORT", "1883")
    where = "" if port == "1883" else f"MQTT_PORT={port} "
    return f"{where}routemq publish {' '.join(map(shlex.quote, example))}"


def dlq_command(env: Mapping[str, str], what: str) -> str:
    """Return a command of `routemq dlq` for another terminal."""
    url = env.get("REDIS_URL", USUAL_REDIS_URL)
    where = "" if url == USUAL_REDIS_URL else f"REDIS_URL={shlex.quote(url)} "
    return f"{where}routemq dlq {what}"
