"""The application's routes, read without importing the application."""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from routemq.errors import RouteMQError
from routemq.routing import Router

_LOAD_TIMEOUT_S = 60.0
_MOST_SHOWN = 500


class BrokenApplicationError(RouteMQError):
    """The application's routes cannot be loaded as its files are now.

    Attributes:
        words: What the attempt wrote.
    """

    def __init__(self, *, words: str) -> None:
        self.words = words
        super().__init__(words)


def read_routes(project: Path, env: Mapping[str, str]) -> Router:
    """Load the routes in a process of its own, so that every attempt sees the files as they are now.

    The routes returned hold their controllers by name alone: nothing of the application is imported here.

    Raises:
        BrokenApplicationError: They cannot be loaded, or one of their controllers cannot.
    """
    return router_of(read_rows(project, env))


def read_rows(project: Path, env: Mapping[str, str]) -> list[dict[str, Any]]:
    """Load the routes likewise, as `routemq routes --json --check` describes them.

    Raises:
        BrokenApplicationError: As above.
    """
    rows: list[dict[str, Any]] = _routes(project, env, "--json", "--check")
    return rows


def router_of(rows: Iterable[Mapping[str, Any]]) -> Router:
    """Return the routes that are described so, with their controllers by name."""
    router = Router()
    for row in rows:
        router.declare(
            row["source"], row["template"], row["controller"],
            {"name": row["name"], "qos": row["qos"], "shared": row["shared"], "worker_count": row["worker_count"],
             "queue": row["queue"]},
        )  # fmt: skip
    return router


def read_queues(project: Path, env: Mapping[str, str]) -> list[str]:
    """Return the names of all queues, also of those that only the application's own Celery tasks use.

    Raises:
        BrokenApplicationError: The application cannot be loaded.
    """
    found: list[str] = _routes(project, env, "--queues")
    return found


def _routes(project: Path, env: Mapping[str, str], *options: str) -> Any:
    argv = [sys.executable, "-m", "routemq", "routes", *options]
    try:
        run = subprocess.run(
            argv,
            cwd=project,
            env=dict(env),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_LOAD_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as exc:
        raise BrokenApplicationError(words=f"loading the routes takes longer than {_LOAD_TIMEOUT_S:g} s") from exc
    if run.returncode != 0:
        # The front door of this process puts its own "Error: " before it.
        words = run.stderr.strip().removeprefix("Error: ")
        raise BrokenApplicationError(words=words or f"loading the routes ended with {run.returncode}")
    try:
        return json.loads(run.stdout)
    # A module of the application's may end the process, or write on its output by way of C.
    except ValueError as exc:
        words = f"{run.stderr}\n{run.stdout[:_MOST_SHOWN]}".strip()
        raise BrokenApplicationError(words=f"loading the routes told none; it wrote: {words or 'nothing'}") from exc
