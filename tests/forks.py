"""Processes of the product that begin as forks of one which has Celery loaded, half a second of processor sooner each.

What they run, how they end, and what they are to others is as after `exec`; only the command line that `ps` shows is
not. Where that matters, and where the start itself is under test, a command is executed.
"""

import atexit
import contextlib
import multiprocessing
import os
import random
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from multiprocessing.connection import wait
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "celery.apps.worker",
        "celery.concurrency.prefork",
        "celery.worker.consumer",
        "celery.worker.strategy",
        "orjson",
        "pydantic_settings",
        "redis.asyncio",
        "tests.forks",
    ]
)


def can_fork(argv: Sequence[str], env: Mapping[str, str]) -> bool:
    """Tell whether it is a command of ours that no loaded module is in the way of: gevent patches them first of all."""
    return (
        (argv[0] in {"celery", "routemq"} or tuple(argv[:2]) == (sys.executable, "-m"))
        and not any("gevent" in argument or "eventlet" in argument for argument in argv)
        and all(os.environ.get(name) == value for name, value in env.items() if name.startswith(_OF_THE_START))
        and not any(Path(folder, "sitecustomize.py").exists() for folder in _folders(env.get("PYTHONPATH", "")))
    )


def _folders(path: str) -> list[str]:
    return [folder for folder in path.split(os.pathsep) if folder]


_OF_THE_START = (
    "PYTHONW", "PYTHONI", "PYTHONUTF8", "PYTHONHASHSEED", "PYTHONDEV", "PYTHONMALLOC", "LANG", "LC_", "CELERY_CUSTOM",
)  # fmt: skip
"""What an interpreter reads once, and Celery as it is loaded."""


class Fork:
    """Such a process, with the face of `subprocess.Popen`."""

    def __init__(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log_path: Path, errors_path: Path | None = None
    ) -> None:
        self.args = list(argv)
        # The name is in Celery's log lines.
        self._process = _CONTEXT.Process(
            target=_become,
            args=(self.args, str(cwd), dict(env), (str(log_path), str(errors_path or log_path)), _import_path()),
            name="MainProcess",
        )
        self._process.start()
        # Its exit code can be read once; then it is remembered.
        self._reading = threading.Lock()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        with self._reading:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, signal_number: int) -> None:
        if self.poll() is None:
            # Its end may be known a moment later: it has another parent.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal_number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@cache
def _import_path() -> list[str]:
    """Where an interpreter looks for modules that is told nothing of it."""
    program = "import sys; print(*sys.path[1:], sep='\\n')"
    environment = {"PATH": os.environ["PATH"]}
    found = subprocess.run(
        [sys.executable, "-c", program], cwd="/", env=environment, capture_output=True, encoding="utf-8", check=True
    )
    return found.stdout.splitlines()


def _become(argv: list[str], cwd: str, env: dict[str, str], log_paths: tuple[str, str], import_path: list[str]) -> None:
    """Do what a shell and the interpreter's start would have done for the command, and run it."""
    os.setsid()
    os.chdir(cwd)
    for stream, path in enumerate(log_paths, 1):
        log = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(log, stream)
        os.close(log)
    os.environ.clear()
    os.environ.update(env)
    random.seed()
    paths = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    try:
        if argv[0] == sys.executable:
            sys.path[:] = [cwd, *paths, *import_path]
            sys.argv = argv[2:]
            runpy.run_module(argv[2], run_name="__main__", alter_sys=True)
        else:
            commands = Path(sys.executable).parent
            sys.path[:] = [str(commands), *paths, *import_path]
            sys.argv = [str(commands / argv[0]), *argv[1:]]
            (script,) = entry_points(group="console_scripts", name=argv[0])
            sys.exit(script.load()())
    finally:
        # `multiprocessing` ends its processes without them.
        atexit._run_exitfuncs()
