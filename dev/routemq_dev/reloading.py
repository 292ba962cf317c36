"""Which files of a project were changed.

A module of its own, for watchfiles is there on a developer's machine alone (the extra `dev`).
"""

from collections.abc import Iterator
from pathlib import Path

from watchfiles import PythonFilter, watch

from routemq.supervision.stop import Stop

_SETTLE_MS = 300
"""Editors write a file in several steps, and a version control system writes several files."""


class ProjectFilter(PythonFilter):
    """Python files and `.env`; nothing that is installed, generated, ours or a test."""

    ignore_dirs = (*PythonFilter.ignore_dirs, ".routemq", "venv", "env", "build", "dist", "tests", ".ruff_cache")

    def __init__(self) -> None:
        super().__init__(extra_extensions=(".env",))


def changes(project: Path, stop: Stop) -> Iterator[tuple[str, ...]]:
    """Yield the changed files, relative to the project, until `stop` is set.

    Raises:
        OSError: The system's limit of watched folders is too low.
    """
    for found in watch(
        project, watch_filter=ProjectFilter(), stop_event=stop, debounce=_SETTLE_MS, step=100, raise_interrupt=False
    ):
        yield tuple(sorted({str(Path(path).relative_to(project)) for _, path in found}))
