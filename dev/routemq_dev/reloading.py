"""Which files of a project were changed.

A module of its own, for watchfiles is there on a developer's machine alone (the extra `dev`).
"""

import threading
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


class Changes:
    """Which files were changed, relative to the project: iterating takes them, and waits for more until `stop` is set.

    A thread sees them, so that a reload hears of the change that has made it out of date.

    Raises:
        OSError: By iterating; the system's limit of watched folders is too low.
        Exception: Likewise, whatever else ended the watch.
    """

    def __init__(self, project: Path, stop: Stop) -> None:
        self._news = threading.Condition()  # guards all below
        self._changed: set[str] = set()
        self._ended = False
        self._error: Exception | None = None
        threading.Thread(target=self._watch, args=(project, stop), name="changes", daemon=True).start()

    def __bool__(self) -> bool:
        """Whether there are any to be taken."""
        return bool(self._changed)

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._changed or self._ended)
                if not self._changed:
                    break
                taken, self._changed = tuple(sorted(self._changed)), set()
            yield taken
        if self._error is not None:
            raise self._error

    def _watch(self, project: Path, stop: Stop) -> None:
        try:
            for found in watch(
                project, watch_filter=ProjectFilter(), stop_event=stop, debounce=_SETTLE_MS, step=100,
                raise_interrupt=False,
            ):  # fmt: skip
                with self._news:
                    self._changed |= {str(Path(path).relative_to(project)) for _, path in found}
                    self._news.notify()
        # Raised where the changes are taken: this thread has nobody to tell.
        except Exception as exc:  # noqa: BLE001
            self._error = exc
        finally:
            with self._news:
                self._ended = True
                self._news.notify()
