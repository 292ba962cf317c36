"""See that the project's code has changed, and whether it can be loaded."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from watchfiles import PythonFilter, watch

from routemq.errors import RouteMQError
from routemq.routing import Router

_LOAD_TIMEOUT_S = 60.0
_SETTLE_MS = 300
"""Editors write a file in several steps, and a version control system writes several files."""


class BrokenApplicationError(RouteMQError):
    """The application's routes cannot be loaded as its files are now.

    Attributes:
        words: What the attempt wrote.
    """

    def __init__(self, *, words: str) -> None:
        self.words = words
        super().__init__(words)


class ProjectFilter(PythonFilter):
    """Python files and `.env`; nothing that is installed, generated, ours or a test."""

    ignore_dirs = (*PythonFilter.ignore_dirs, ".routemq", "venv", "env", "build", "dist", "tests", ".ruff_cache")

    def __init__(self) -> None:
        super().__init__(extra_extensions=(".env",))


def changes(project: Path, stop: threading.Event) -> Iterator[tuple[str, ...]]:
    """Yield the changed files, relative to the project, until `stop` is set.

    Raises:
        OSError: The system's limit of watched folders is too low.
    """
    for found in watch(
        project, watch_filter=ProjectFilter(), stop_event=stop, debounce=_SETTLE_MS, step=100, raise_interrupt=False
    ):
        yield tuple(sorted({str(Path(path).relative_to(project)) for _, path in found}))


def read_routes(project: Path, env: Mapping[str, str]) -> Router:
    """Load the routes in a process of its own, so that every attempt sees the files as they are now.

    The routes returned hold their controllers by name alone: nothing of the application is imported here.

    Raises:
        BrokenApplicationError: They cannot be loaded, or one of their controllers cannot.
    """
    argv = [sys.executable, "-m", "routemq.cli", "routes", "--json", "--check"]
    try:
        run = subprocess.run(
            argv, cwd=project, env=dict(env), capture_output=True, text=True, check=False, timeout=_LOAD_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as exc:
        raise BrokenApplicationError(words=f"loading the routes takes longer than {_LOAD_TIMEOUT_S:g} s") from exc
    if run.returncode != 0:
        # The front door of this process puts its own "Error: " before it.
        words = run.stderr.strip().removeprefix("Error: ")
        raise BrokenApplicationError(words=words or f"loading the routes ended with {run.returncode}")
    router = Router()
    for row in json.loads(run.stdout):
        router.declare(
            row["source"], row["template"], row["controller"],
            {"name": row["name"], "qos": row["qos"], "shared": row["shared"], "worker_count": row["worker_count"],
             "queue": row["queue"]},
        )  # fmt: skip
    return router
