"""The logs of several processes on one terminal: a short time, the process's name, and what it says, folded."""

import logging
import re
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text

from routemq.text import printable

NAME_WIDTH = 14
_RECORD_LASTS_S = 0.2
LINES_PER_SECOND = 15
"""Of one process, for a reader who looks on; what is more is counted, not shown."""

_COLOURS = (
    "cyan",
    "magenta",
    "green",
    "blue",
    "yellow",
    "bright_cyan",
    "bright_magenta",
    "bright_green",
    "bright_blue",
)
_LEVEL_STYLES = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}

_RECORD = re.compile(
    r"\[?\d{4}-\d\d-\d\d[ T](?P<time>\d\d:\d\d:\d\d)[,.]?\d*:?\s+(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)"
    r"(?:/\w+\])?\s+(?P<text>.*)",
    re.DOTALL,
)
_FLOWER_RECORD = re.compile(r"\[(?P<level>[DIWE]) \d{6} (?P<time>\d\d:\d\d:\d\d) (?P<text>.*)", re.DOTALL)
_FLOWER_LEVELS = {"D": "DEBUG", "I": "INFO", "W": "WARNING", "E": "ERROR"}
_REDIS_RECORD = re.compile(r"\d+:[A-Z] \d+ \w+ \d{4} (?P<time>\d\d:\d\d:\d\d)\.\d+ (?P<mark>[.*#-]) (?P<text>.*)")

_LATER_RECORD = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d,\d{3} (?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")
"""Of a process that had printed something without a line feed, as `input()` does."""
_WARNING_OF_PYTHON = re.compile(r"\S.*?:\d+: \w*Warning: (?P<text>.*)")
_OUR_LOGGERS = re.compile(r"(?:routemq|celery|kombu)[\w.]*: ")
"""Not worth the width of the line: the process's name is before it."""

_SERVERS_QUIET = frozenset({"mqtt", "redis"})
"""Of these only warnings are shown; what they say at their start is said in the banner."""

_SERVER_NOISE = (
    "Mosquitto should not be run as root",
    "Memory overcommit must be enabled",
    "no config file specified",
    "is starting oO0",
    "version=",
    "Configuration loaded",
    "Server initialized",
    "ready to exit",
    "User requested shutdown",
    "Running in unprivileged mode",
)
_CELERY_NOISE = ("superuser privileges", "Registered tasks:", "Inspect method", "worker: Warm shutdown")


@dataclass(slots=True)
class _Source:
    """One process, as its lines go."""

    colour: str
    noise: bool = False  # whether the latest record was noise
    style: str = ""
    record_at: float = 0.0
    window: float = 0.0
    in_window: int = 0
    hidden: int = field(default=0)


class TerminalLog:
    """Shows lines from several threads, each as one piece.

    Args:
        console: Shown on it. On a terminal a long line is folded under its own beginning; elsewhere it stays one line.
        level: Records below it are not shown.
        own_name: Stands before what this process says.
        lines_per_second: Most lines of one process; None shows all.

    Attributes:
        recent: The latest lines, shown or not, each with the name of its process.
        quiet: While it is True, only warnings and worse are shown.
    """

    def __init__(
        self,
        console: Console,
        *,
        level: str = "INFO",
        own_name: str = "dev",
        lines_per_second: int | None = LINES_PER_SECOND,
    ) -> None:
        self._console, self._own_name, self._lines_per_second = console, own_name, lines_per_second
        self.quiet = False
        self.recent: deque[tuple[str, str]] = deque(maxlen=60)
        self._level = logging.getLevelNamesMapping()[level]
        self._sources: dict[str, _Source] = {}
        self._lock = threading.Lock()

    def line(self, name: str, line: str) -> None:
        """Show a line of a process."""
        if not _RECORD.match(line) and (later := _LATER_RECORD.search(line)) is not None:
            self.line(name, line[: later.start()])
            line = line[later.start() :]
        if not line.strip():
            return
        with self._lock:
            self.recent.append((name, line))
            source = self._source(name)
            level, at, text = _parsed(name, line)
            noise = _is_noise(name, text)
            if level is None:
                shown = not noise and self._rest_is_wanted(source)
            else:
                shown = not noise and self._wanted(name, level)
                source.record_at, source.noise, source.style = time.monotonic(), noise, _LEVEL_STYLES.get(level, "")
            if shown and self._has_room(name, source):
                self._print(source, name, at, text)

    def note(self, name: str, text: str, *, level: str = "INFO") -> None:
        """Show a line about a process; by default one that is no more than information."""
        with self._lock:
            if self._wanted(name, level):
                self._print(self._source(name), name, None, text, style=_LEVEL_STYLES.get(level, ""))

    def command(self, text: str) -> None:
        """Show a command, from the beginning of a line, to be copied whole."""
        with self._lock:
            self._write(Text(printable(text), "cyan"))

    def say(self, text: str, *, style: str = "bold") -> None:
        """Show a line of this process itself."""
        with self._lock:
            for part in text.splitlines() or [""]:
                self._print(self._source(self._own_name), self._own_name, None, part, style=style)

    def _source(self, name: str) -> _Source:
        if name not in self._sources:
            self._sources[name] = _Source(_COLOURS[len(self._sources) % len(_COLOURS)])
        return self._sources[name]

    def _wanted(self, name: str, level: str) -> bool:
        number = logging.getLevelNamesMapping()[level]
        if number < self._level:
            return False
        return number >= logging.WARNING or not (self.quiet or name in _SERVERS_QUIET)

    @staticmethod
    def _rest_is_wanted(source: _Source) -> bool:
        """A line that begins no record: one more of the record before it, as of a traceback, or something printed."""
        if time.monotonic() - source.record_at <= _RECORD_LASTS_S:
            return not source.noise
        source.style = ""
        return True

    def _has_room(self, name: str, source: _Source) -> bool:
        now = time.monotonic()
        if now - source.window >= 1.0:
            if source.hidden:
                self._print(source, name, None, f"… and {source.hidden} more lines", style="dim")
            source.window, source.in_window, source.hidden = now, 0, 0
        source.in_window += 1
        if self._lines_per_second is not None and source.in_window > self._lines_per_second:
            source.hidden += 1
            return False
        return True

    def _print(self, source: _Source, name: str, at: str | None, text: str, *, style: str | None = None) -> None:
        label = name.removeprefix("worker ")
        if len(label) > NAME_WIDTH:
            label = label[: NAME_WIDTH - 1] + "…"
        # As text, never as markup: what a message or an error holds is not ours to interpret.
        when = Text(at or time.strftime("%H:%M:%S"), "dim")
        who = Text(f"{label:<{NAME_WIDTH}}", source.colour)
        what = Text(printable(text, lines=True), source.style if style is None else style)
        if self._console.is_terminal:
            row = Table.grid(padding=(0, 1))
            row.add_column(no_wrap=True)
            row.add_column(no_wrap=True)
            row.add_column(overflow="fold")
            row.add_row(when, who, what)
            self._write(row)
        else:
            self._write(Text(" ").join((when, who, what)))

    def _write(self, what: Table | Text) -> None:
        try:
            self._console.print(what, soft_wrap=isinstance(what, Text))
        # The terminal is gone, the disk is full, a letter is not in the terminal's code: no reason to end what is
        # supervised. Where nobody reads a pipe any more, rich has the program end, which is here the thread that has
        # something to say.
        except (OSError, ValueError, SystemExit):
            # Else rich keeps the line, and all that follow, for its next attempt.
            was_quiet, self._console.quiet = self._console.quiet, True
            self._console.print()
            self._console.quiet = was_quiet


class TerminalLogHandler(logging.Handler):
    """Shows this process's own log records, such as the supervisor's, among the others."""

    def __init__(self, log: TerminalLog) -> None:
        super().__init__()
        self._log = log
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        self._log.say(self.format(record), style=_LEVEL_STYLES.get(record.levelname, ""))


def _is_noise(name: str, text: str) -> bool:
    parts = _SERVER_NOISE if name in _SERVERS_QUIET else _CELERY_NOISE
    return any(part in text for part in parts)


def _parsed(name: str, line: str) -> tuple[str | None, str | None, str]:
    """Return a log line's level, its time and the rest; None as the level of a line that begins no record."""
    if found := _RECORD.match(line):
        return found["level"], found["time"], _OUR_LOGGERS.sub("", found["text"], count=1)
    if found := _FLOWER_RECORD.match(line):
        return _FLOWER_LEVELS[found["level"]], found["time"], found["text"].partition("] ")[2] or found["text"]
    if found := _REDIS_RECORD.match(line):
        return ("WARNING" if found["mark"] == "#" else "INFO"), found["time"], found["text"]
    if found := _WARNING_OF_PYTHON.match(line):
        return "WARNING", None, found["text"]
    if name in _SERVERS_QUIET:
        loud = re.match(r"(Warning|Error)\b", line)
        return ("INFO" if loud is None else loud[1].upper()), None, line
    return None, None, line
