"""Which line of the project an error came from, for an error in one line."""

import linecache
import os
import traceback
from pathlib import Path
from types import TracebackType

_NOT_OF_IT = ("site-packages", "dist-packages", ".venv", "venv")
_LONGEST_LINE = 100


def project_frame(error: BaseException, folder: Path | None = None) -> str:
    """Return `app/models.py, line 3: class Reading(…)`, of the innermost frame of the project; empty without one.

    Args:
        folder: The project's; by default the working directory.
    """
    root = os.path.realpath(folder or Path.cwd())
    frames = [*_frames(error.__traceback__), *_of_syntax(error)]
    for path, line in reversed(frames):
        inside = os.path.relpath(os.path.realpath(path), root)
        if not inside.startswith("..") and not set(Path(inside).parts) & set(_NOT_OF_IT):
            text = linecache.getline(path, line).strip()
            shown = f": {text[:_LONGEST_LINE]}{'…' if len(text) > _LONGEST_LINE else ''}" if text else ""
            return f"{inside}, line {line}{shown}"
    return ""


def _frames(found: TracebackType | None) -> list[tuple[str, int]]:
    return [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(found)
        # Neither Python's import system, nor ourselves where the project is our own folder.
        if not frame.f_code.co_filename.startswith("<")
        and not str(frame.f_globals.get("__name__")).partition(".")[0].startswith("routemq")
    ]


def _of_syntax(error: BaseException) -> list[tuple[str, int]]:
    """A file that cannot be parsed has no frame of its own."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return [(error.filename, error.lineno)]
    return []
