"""The supervisor, with real processes: read, restarted, stopped, and never left behind."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from routemq.supervision.child import Command
from routemq.supervision.processes import ProcessState, Supervisor
from tests.processes import PATIENCE_S, no_more_threads, running, wait_until

SERVE = "import time; print('serving', flush=True); time.sleep(60)"
DIE = "print('my last words', flush=True); raise SystemExit(7)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SERVE
WITH_CHILD = (
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    "print('child', child.pid, flush=True); time.sleep(60)"
)


class Lines(list[tuple[str, str]]):
    """What the processes wrote."""

    def __call__(self, name: str, line: str) -> None:
        self.append((name, line))

    def child_pid(self) -> int:
        return int(wait_until(lambda: [line for _, line in self if line.startswith("child ")])[0].split()[1])


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def supervisor(lines: Lines) -> Iterator[Supervisor]:
    with Supervisor(lines) as made:
        yield made


def python(program: str, name: str = "one", **options: object) -> Command:
    return Command(name=name, argv=(sys.executable, "-c", program), **options)  # type: ignore[arg-type]


def only(supervisor: Supervisor) -> ProcessState:
    (state,) = supervisor.states
    return state


def guardians(pid: int) -> list[psutil.Process]:
    found = psutil.Process(pid).children()
    return [child for child in found if not is_gone(child.pid) and "guardian.py" in " ".join(child.cmdline())]


def test_a_stop_ends_well_though_the_guardian_has_died(supervisor: Supervisor) -> None:
    supervisor.start(python(SERVE))
    (guardian,) = guardians(os.getpid())
    guardian.kill()
    supervisor.restart("one")
    supervisor.close()


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_process_is_ready_when_it_says_so_and_its_lines_arrive(supervisor: Supervisor, lines: Lines) -> None:
    supervisor.start(python(SERVE, ready="serving"))
    assert supervisor.wait_ready(["one"], timeout_s=PATIENCE_S) == ()
    assert lines == [("one", "serving")]
    assert only(supervisor).ready


def test_process_that_never_serves_is_named_when_the_time_is_up(supervisor: Supervisor) -> None:
    supervisor.start(python(SERVE, ready="something else"))
    assert supervisor.wait_ready(["one"], timeout_s=0.2) == ("one",)


def test_killed_process_is_started_again(supervisor: Supervisor) -> None:
    supervisor.start(python(SERVE, ready="serving"))
    supervisor.wait_ready(["one"], timeout_s=PATIENCE_S)
    first = only(supervisor)
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: only(supervisor).restarts == 1 and only(supervisor).ready, message="it serves again")
    assert only(supervisor).pid != first.pid
    assert only(supervisor).exit_code == -signal.SIGKILL


def test_process_without_a_thread_for_its_output_is_no_process(supervisor: Supervisor) -> None:
    supervisor.start(python(SERVE, "other"))
    with no_more_threads(), pytest.raises(OSError, match="thread"):
        supervisor.start(python(SERVE))
    assert only(supervisor).name == "other"
    own = psutil.Process().children(recursive=True)
    assert [child.pid for child in own if SERVE in child.cmdline()] == [only(supervisor).pid]


def test_process_that_keeps_dying_is_restarted_ever_more_slowly_and_quoted(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.start(python(DIE))
    wait_until(lambda: only(supervisor).restarts >= 2, message="it was restarted twice")
    wait_until(lambda: "my last words" in caplog.text, message="its last words are in the log")
    assert "restart_in_s=0.5" in caplog.text
    assert "restart_in_s=1.0" in caplog.text
    assert only(supervisor).exit_code == 7


def test_process_not_to_be_restarted_stays_dead(supervisor: Supervisor) -> None:
    supervisor.start(python(DIE, ready="never", restart=False))
    assert supervisor.wait_ready(["one"], timeout_s=PATIENCE_S) == ("one",)
    wait_until(lambda: only(supervisor).exit_code == 7, message="its death is known")
    assert only(supervisor).restarts == 0


def test_stop_ends_the_process_with_all_that_it_started(supervisor: Supervisor, lines: Lines) -> None:
    supervisor.start(python(WITH_CHILD))
    child = lines.child_pid()
    supervisor.stop("one")
    wait_until(lambda: is_gone(child), message="the grandchild is gone")
    assert supervisor.states == ()


def test_stop_goes_from_signal_to_signal_and_ends_with_sigkill(supervisor: Supervisor) -> None:
    supervisor.start(
        python(STUBBORN, ready="serving", stop_signals=((signal.SIGTERM, 0.2), (signal.SIGQUIT, PATIENCE_S))),
        python("import signal; signal.signal(signal.SIGQUIT, signal.SIG_IGN); " + STUBBORN, name="two", ready="serving",
               stop_signals=((signal.SIGTERM, 0.2), (signal.SIGQUIT, 0.2))),
    )  # fmt: skip
    supervisor.wait_ready(["one", "two"], timeout_s=PATIENCE_S)
    pids = [state.pid for state in supervisor.states]
    supervisor.stop("one", "two")
    assert all(is_gone(pid) for pid in pids)


def test_what_a_dead_process_had_started_does_not_outlive_it(supervisor: Supervisor, lines: Lines) -> None:
    supervisor.start(python(WITH_CHILD))
    child = lines.child_pid()
    os.kill(only(supervisor).pid, signal.SIGKILL)
    wait_until(lambda: is_gone(child), message="the grandchild is gone")


def test_line_without_end_does_not_stop_the_reading(supervisor: Supervisor, lines: Lines) -> None:
    supervisor.start(
        python("print('x' * 300_000, flush=True); print('after', flush=True); import time; time.sleep(60)")
    )
    wait_until(lambda: ("one", "after") in lines, message="the line after it arrives")
    assert sum(len(line) for _, line in lines) == 300_000 + len("after")


@pytest.mark.parametrize("guardian", ["lives", "was killed"])
def test_killed_supervisor_leaves_no_process_behind(tmp_path: Path, guardian: str) -> None:
    program = (
        "import sys, time\nfrom routemq.supervision.child import Command\n"
        "from routemq.supervision.processes import Supervisor\n"
        f"supervisor = Supervisor(lambda name, line: print(line, flush=True))\n"
        f"supervisor.start(Command(name='one', argv=(sys.executable, '-c', {WITH_CHILD!r})))\n"
        "time.sleep(60)\n"
    )
    with running([sys.executable, "-c", program], cwd=tmp_path) as process:
        process.wait_for_output("child ")
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) == 3, "the process, its child and the guardian"
        if guardian == "was killed":
            guardians(process.pid)[0].kill()
            wait_until(lambda: guardians(process.pid), message="there is another one", ignoring=(psutil.Error,))
        process.kill()
        wait_until(lambda: all(is_gone(member.pid) for member in family), message="all of them are gone")
