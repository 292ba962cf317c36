"""One line of the doctor's report."""

import enum
from dataclasses import asdict, dataclass
from typing import Any


class Level(enum.IntEnum):
    """How bad it is; from PASS on also the exit code, in the manner of monitoring plugins."""

    SKIP = -1
    PASS = 0
    WARN = 1
    FAIL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        check: What was looked at, a stable name: `redis eviction`.
        text: What was seen.
        mend: What to do about it; empty when nothing is to be done.
    """

    level: Level
    check: str
    text: str
    mend: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it with its level's name."""
        return asdict(self) | {"level": self.level.name.lower()}


def passed(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(level=Level.PASS, check=check, text=text)


def skipped(check: str, text: str) -> Finding:
    """Nobody looked, so nothing is known: neither that it is well, nor that it is not."""
    return Finding(level=Level.SKIP, check=check, text=text)


def warned(check: str, text: str, mend: str) -> Finding:
    """It works, and may not for long, or not well."""
    return Finding(level=Level.WARN, check=check, text=text, mend=mend)


def failed(check: str, text: str, mend: str) -> Finding:
    """It does not work, or messages may be lost."""
    return Finding(level=Level.FAIL, check=check, text=text, mend=mend)
