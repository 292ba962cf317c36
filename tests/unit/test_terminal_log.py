"""One readable log out of many: what is shown, and how."""

import contextlib
import io
import logging
import os
import sys

import pytest
from rich.console import Console

from routemq.supervision.terminal_log import LINES_PER_SECOND, TerminalLog, TerminalLogHandler


class Page:
    """A log and what it has shown, without the time of day."""

    def __init__(self, level: str = "INFO") -> None:
        self._text = io.StringIO()
        self.log = TerminalLog(Console(file=self._text, width=80), level=level)

    @property
    def lines(self) -> list[str]:
        return [line[9:] for line in self._text.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("name", "line", "shown"),
    [
        ("ingest", "2026-11-24 13:25:45,123 INFO    routemq_ingest.worker: ready", "ingest         ready"),
        ("worker a", "2026-11-24 13:25:45,123 WARNING shop.orders: late", "a              shop.orders: late"),
        ("flower", "[I 261124 13:25:45 command:178] Visit me", "flower         Visit me"),
        ("worker a.very.long.queue", "printed [bold]", "a.very.long.q… printed [bold]"),
        ("redis", "13847:M 24 Nov 2026 13:25:45.123 # Out of memory", "redis          Out of memory"),
        ("mqtt", "Error: Address already in use", "mqtt           Error: Address already in use"),
    ],
)
def test_line_of_each_kind_of_process_is_shown_with_its_name(name: str, line: str, shown: str) -> None:
    page = Page()
    page.log.line(name, line)
    assert page.lines == [shown]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("redis", "13847:M 24 Nov 2026 13:25:45.123 * Ready to accept connections"),
        ("redis", "13847:C 24 Nov 2026 13:25:45.123 # Configuration loaded"),
        ("mqtt", "New client connected from 127.0.0.1"),
        ("ingest", "2026-11-24 13:25:45,123 DEBUG   routemq_ingest.worker: detail"),
        ("worker a", "  "),
    ],
)
def test_line_that_helps_nobody_is_not_shown(name: str, line: str) -> None:
    page = Page()
    page.log.line(name, line)
    assert page.lines == []


def test_while_it_starts_only_warnings_and_what_is_printed_are_shown() -> None:
    page = Page()
    page.log.quiet = True
    page.log.line("ingest", "2026-11-24 13:25:45,123 INFO    a: fine")
    page.log.line("ingest", "printed")
    page.log.line("ingest", "2026-11-24 13:25:45,123 ERROR   a: not fine")
    page.log.line("ingest", "Traceback (most recent call last):")
    assert [line.split(maxsplit=1)[1] for line in page.lines] == [
        "printed", "a: not fine", "Traceback (most recent call last):",
    ]  # fmt: skip


def test_warning_about_root_is_hidden_with_all_its_lines() -> None:
    page = Page()
    page.log.line(
        "worker a", "/a b/platforms.py:893: SecurityWarning: You're running the worker with superuser privileges"
    )
    page.log.line("worker a", "Please specify a different user using the --uid option.")
    page.log.line("worker a", "2026-11-24 13:25:45,123 INFO    a: go")
    assert page.lines == ["a              a: go"]


def test_record_after_something_printed_without_an_end_is_a_line_of_its_own() -> None:
    page = Page()
    page.log.line("worker a", "really? 2026-11-24 13:25:45,123 ERROR   routemq_tasks.outcomes: not fine")
    page.log.line("worker a", "2026-11-24 13:25:45,123 INFO    shop: since 2026-11-24 13:25:45,123 INFO is said")
    assert page.lines == [
        "a              really? ",
        "a              not fine",
        "a              shop: since 2026-11-24 13:25:45,123 INFO is said",
    ]


def test_flood_of_one_process_is_counted_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("routemq.supervision.terminal_log.time.monotonic", lambda: now)
    page = Page()
    for number in range(LINES_PER_SECOND + 40):
        page.log.line("loud", f"line {number}")
    page.log.line("calm", "here")
    assert len(page.lines) == LINES_PER_SECOND + 1
    now += 1.5
    page.log.line("loud", "later")
    assert page.lines[-2:] == ["loud           … and 40 more lines", "loud           later"]


@pytest.mark.parametrize("kind", ["terminal", "pipe", "full disk"])
def test_what_shows_nothing_any_more_ends_nobody_who_has_something_to_say(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    reader = None
    if kind == "terminal":
        reader, writer = os.openpty()
    elif kind == "pipe":
        reader, writer = os.pipe()
    else:
        writer = os.open("/dev/full", os.O_WRONLY)
    if reader is not None:
        os.close(reader)
    console = Console(file=os.fdopen(writer, "w", buffering=1, encoding="utf-8"), force_terminal=kind == "terminal")
    # Of a pipe that nobody reads, rich lets standard output lead nowhere.
    monkeypatch.setattr(sys, "stdout", console.file)
    log = TerminalLog(console)
    for _ in range(2):
        TerminalLogHandler(log).emit(logging.makeLogRecord({"msg": "process died"}))
        log.line("worker a", "a line")
    log.command("routemq dlq list")
    assert console._buffer == []
    with contextlib.suppress(OSError):
        console.file.close()
