"""Which frames of a letter's traceback are the user's own, so that they can be shown before those of libraries."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from routemq.dead_letters.fingerprint import CAUSED_BY

_FRAME = re.compile(r'^  File "([^\n]*)", line (\d+), in ([^\n]*)$', re.MULTILINE)
_OF_LIBRARIES = re.compile(
    r"[/\\](?:site-packages|dist-packages)[/\\]|[/\\]lib(?:64)?[/\\]python\d[\d.]*[/\\]|^<", re.IGNORECASE
)
_OF_PACKAGES = re.compile(r"[/\\]routemq_(?:dev|ingest|ops|tasks|transport)[/\\]")
_CORE = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class RaisedBy:
    """An exception of a traceback: the one that was raised, or one that had caused it.

    Attributes:
        caused_by: Class and text of a cause; None of the exception itself.
        own: The user's frames as Python writes them, the innermost first.
        place: Where the innermost of them is, such as `app/models.py, line 3, in check`; None without one.
        frames: How many there are of anyone.
    """

    caused_by: str | None
    own: tuple[str, ...]
    place: str | None
    frames: int


def raised_by(traceback: str) -> tuple[RaisedBy, ...]:
    """Read what a letter keeps of its traceback, in whatever form it is: what is no frame is passed over."""
    parts = traceback.split(CAUSED_BY) if traceback else []
    return tuple(_read(part, is_cause=number > 0) for number, part in enumerate(parts))


def _read(part: str, *, is_cause: bool) -> RaisedBy:
    found = list(_FRAME.finditer(part))
    ends = [*(frame.start() for frame in found[1:]), len(part)]
    own = [
        (frame, part[frame.start() : end].strip("\n"))
        for frame, end in zip(found, ends, strict=False)
        if _is_own(frame[1])
    ]
    own.reverse()
    said = part[: found[0].start()] if found else part
    return RaisedBy(
        caused_by=said.strip("\n") if is_cause else None,
        own=tuple(text for _, text in own),
        place=f"{own[0][0][1]}, line {own[0][0][2]}, in {own[0][0][3]}" if own else None,
        frames=len(found),
    )


def _is_own(path: str) -> bool:
    if _OF_LIBRARIES.search(path) or _OF_PACKAGES.search(path):
        return False
    # A checkout of ours; the user's project may be called so as well, and has other files.
    _, inside, file = path.replace("\\", "/").rpartition("/routemq/")
    return not (inside and file in _core_files())


@cache
def _core_files() -> frozenset[str]:
    # Listed, so that no text of a letter leads to a look at the disk.
    return frozenset(path.relative_to(_CORE).as_posix() for path in _CORE.rglob("*.py"))
