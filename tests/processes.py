"""Real processes under test, and waiting for what they do."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from tests.forks import Fork, can_fork

T = TypeVar("T")

PATIENCE_S = 100.0
"""How long a test waits for whatever is to come: longer than the busiest machine takes, as only a defect costs it."""

_PRODUCT_VARIABLES = (
    "MQTT_",
    "REDIS_",
    "WORKER_",
    "INGEST_",
    "ROUTEMQ_",
    "DLQ_",
    "CELERY_",
    "FLOWER_",
    "OTEL_",
    "SENTRY_",
)


def wait_until(
    condition: Callable[[], T],
    *,
    timeout_s: float = PATIENCE_S,
    message: str = "the condition holds",
    ignoring: tuple[type[Exception], ...] = (),
) -> T:
    """Poll until the condition is true and return what it returned.

    Args:
        condition: Called every few milliseconds; anything true ends the wait.
        timeout_s: Less than the usual patience only where it is to wait in vain.
        message: What is waited for, as the end of "waited in vain until …".
        ignoring: Errors that mean "not yet", such as a refused connection.

    Raises:
        AssertionError: The deadline passed; says what the condition gave last.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        seen: object
        try:
            result = condition()
        except ignoring as exc:
            seen = exc
        else:
            if result:
                return result
            seen = result
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain until {message}; last saw {seen!r}")
        time.sleep(0.02)


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this environment without the product's settings, with this interpreter's commands first on the PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_PRODUCT_VARIABLES)}
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    kept["PYTHONUNBUFFERED"] = "1"
    return kept | dict(extra or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningProcess:
    """A process of the product, started by `running`."""

    popen: subprocess.Popen[bytes] | Fork
    log_path: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def is_alive(self) -> bool:
        return self.popen.poll() is None

    def output(self) -> str:
        """Return everything it has written so far, standard output and error together."""
        return self.log_path.read_text("utf-8", errors="replace")

    def wait_for_output(self, text: str) -> str:
        """Wait until the text is in the output; fail at once when the process ends without it."""

        def found_or_ended() -> bool:
            ended = not self.is_alive
            return text in self.output() or ended

        wait_until(found_or_ended, message=f"{text!r} is in the output of {self.popen.args!r}")
        output = self.output()
        if text not in output:
            raise AssertionError(f"{self.popen.args!r} ended with {self.popen.poll()} before it wrote {text!r}")
        return output

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the end and return the exit code, negative for a signal."""
        return self.popen.wait(timeout_s)

    def signal(self, signal_number: int) -> None:
        self.popen.send_signal(signal_number)

    def terminate(self) -> int:
        """SIGTERM, wait, return the exit code."""
        self.popen.terminate()
        return self.wait()

    def kill(self) -> None:
        """SIGKILL this process alone, its children live on, and wait."""
        self.popen.kill()
        self.popen.wait()

    def signal_all(self, signal_number: int) -> None:
        """Signal this process and all its descendants, as systemd and a terminal do."""
        for process in _family(self.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal_number)

    def kill_all(self) -> None:
        """SIGKILL this process and all its descendants at once, as the loss of a host would."""
        everyone = _family(self.pid)
        for process in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.popen.wait()


@contextlib.contextmanager
def running(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stop_timeout_s: float = 30.0,
    fork: bool = False,
) -> Iterator[RunningProcess]:
    """Run a command in its own process group; nothing of it is left when the block ends.

    Its output goes to a file and is printed at the end, so that pytest shows it when the test fails.

    Args:
        env: Settings, added to an environment that has none of the product's.
        stop_timeout_s: How long SIGTERM may take before SIGKILL follows.
        fork: May begin as a fork of a process that has Celery loaded, where that makes no difference.
    """
    descriptor, name = tempfile.mkstemp(prefix="routemq-test-", suffix=".log")
    log_path = Path(name)
    environment = clean_environment(env)
    popen: subprocess.Popen[bytes] | Fork
    with os.fdopen(descriptor, "wb") as log:
        if fork and can_fork(argv, environment):
            popen = Fork(argv, cwd=cwd, env=environment, log_path=log_path)
        else:
            popen = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    process = RunningProcess(popen=popen, log_path=log_path)
    family: list[psutil.Process] = []
    try:
        yield process
    finally:
        family = _family(popen.pid)
        _stop(popen, stop_timeout_s)
        for leftover in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                leftover.kill()
        print(f"--- {' '.join(argv)} (exit {popen.returncode})\n{process.output()[-20_000:]}")
        log_path.unlink()


def completed(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run a command of the product to its end, as a fork where that makes no difference; its output goes to files."""
    environment = clean_environment(env)
    if not can_fork(argv, environment):
        return subprocess.run(
            list(argv), cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    with tempfile.NamedTemporaryFile() as output, tempfile.NamedTemporaryFile() as errors:
        ended = Fork(argv, cwd=cwd, env=environment, log_path=Path(output.name), errors_path=Path(errors.name))
        try:
            code = ended.wait(PATIENCE_S)
        finally:
            ended.kill()
        return subprocess.CompletedProcess(list(argv), code, output.read(), errors.read())


def _family(pid: int) -> list[psutil.Process]:
    """The process and its descendants; a process that is gone has none that can be told."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _stop(popen: subprocess.Popen[bytes] | Fork, timeout_s: float) -> None:
    if popen.poll() is None:
        popen.terminate()
        try:
            popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            print(f"{popen.args!r} did not end within {timeout_s:g} s of SIGTERM")
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(popen.pid, signal.SIGKILL)
    popen.wait()


@contextlib.contextmanager
def many_open_files() -> Iterator[None]:
    """Have so many files open in this process that what it opens next has a number above 1023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        with contextlib.ExitStack() as files:
            for _ in range(1100):
                files.callback(os.close, os.open(os.devnull, os.O_RDONLY))
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def no_more_threads() -> Iterator[None]:
    """Have the system refuse each thread that this process wants to start, as a container does that has its most."""
    before = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(before)
