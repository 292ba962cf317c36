"""What a supervisor writes while nobody takes it."""

import contextlib
import io
import os
import re
import sys
import threading
from collections.abc import Iterator

import pytest

from routemq.supervision.unheld_stream import unheld_stderr
from tests.processes import PATIENCE_S, wait_until

LINES = 40_000


@contextlib.contextmanager
def standard_error(monkeypatch: pytest.MonkeyPatch, encoding: str) -> Iterator[io.TextIOWrapper]:
    """Give the other end of a pipe that is this process' standard error."""
    reader, writer = os.pipe()
    with os.fdopen(reader, encoding="utf-8") as output, contextlib.ExitStack() as stack:
        monkeypatch.setattr(sys, "stderr", stack.enter_context(os.fdopen(writer, "w", encoding=encoding)))
        yield output


def say_much() -> None:
    for number in range(LINES):
        sys.stderr.write(f"line {number:>40}\n")


def test_who_takes_nothing_holds_up_neither_what_is_said_nor_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with standard_error(monkeypatch, "utf-8") as output:
        with unheld_stderr():
            say_much()
        assert output.readline().endswith(" 0\n")


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "ü\n"), ("ascii", "\\xfc\n")])
def test_who_takes_lines_again_is_told_how_many_are_missing(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    lines: list[str] = []
    with standard_error(monkeypatch, encoding) as output, unheld_stderr():
        say_much()
        reading = threading.Thread(target=lambda: lines.extend(iter(output.readline, "end\n")), daemon=True)
        reading.start()
        wait_until(lambda: sys.stderr.write("ü\n") and "left out" in "".join(lines[-100:]), message="it is told")
        sys.stderr.write("end\n")
        reading.join(PATIENCE_S)
    told = next(number for number, line in enumerate(lines) if "left out" in line)
    missing = re.fullmatch(r"\((\d+) lines are left out here, which nobody took\)\n", lines[told])
    assert missing is not None
    # Those that were said while it was tried whether there is room are among the missing.
    assert told + int(missing[1]) >= LINES
    assert [int(line.split()[1]) for line in lines[:told]] == list(range(told))
    assert lines[told + 1] == shown


def test_who_takes_nothing_for_the_moment_misses_nothing_where_nobody_may_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with standard_error(monkeypatch, "utf-8") as output, unheld_stderr():
        os.set_blocking(sys.stderr.fileno(), False)
        for number in range(5_000):
            sys.stderr.write(f"line {number:>40}\n")
        assert [int(output.readline().split()[1]) for _ in range(5_000)] == list(range(5_000))


def test_a_fork_and_who_comes_after_the_end_are_written_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with standard_error(monkeypatch, "utf-8") as output:
        with unheld_stderr():
            late = sys.stderr
            # Another thread may write meanwhile.
            with late._changed:  # type: ignore[attr-defined]
                child = os.fork()
                if not child:
                    sys.stderr.write("fork\n")
                    sys.stderr.flush()
                    os._exit(0)
            os.waitpid(child, 0)
        print("late", file=late, flush=True)
        assert [output.readline(), output.readline()] == ["fork\n", "late\n"]


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_what_is_no_file_needs_no_thread(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with unheld_stderr():
        assert sys.stderr is stream
