"""Virtual environments of the contestants: made at their first use, outside of this repository, and kept."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

_DONE = "installed.txt"


class NotHereError(Exception):
    """A contestant cannot take part on this machine."""


def default_folder() -> Path:
    """Return where programs of this user keep what they can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "routemq-peers"


def programs_of(folder: Path, packages: Sequence[str], *, minor: int) -> Path:
    """Return the folder of the programs of an environment with these packages; none of them: of this process's own.

    Args:
        minor: The oldest minor release of Python 3 that they run on.

    Raises:
        NotHereError: There is no such Python, or a package cannot be installed.
    """
    if not packages:
        return Path(sys.executable).parent
    python = _python(minor)
    name = hashlib.sha256("\n".join([python, *packages]).encode()).hexdigest()[:16]
    place = folder / f"{packages[0].partition('=')[0].partition('[')[0]}-{name}"
    if not (place / _DONE).exists():
        print(f"installing {' '.join(packages)} into {place}", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
        _run([python, "-m", "venv", str(place)])
        _run([str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages])
        (place / _DONE).write_text("\n".join(packages), encoding="utf-8")
    return place / "bin"


def version_of(programs: Path) -> str:
    """Return the version of the Python of an environment."""
    command = [str(programs / "python"), "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()


def _run(command: list[str]) -> None:
    found = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if found.returncode:
        said = (found.stderr or found.stdout).strip().splitlines() or [f"{command[0]} ended with {found.returncode}"]
        raise NotHereError(said[-1])


def _python(minor: int) -> str:
    if sys.version_info >= (3, minor):
        return sys.executable
    for candidate in _candidates(minor):
        # What pyenv puts on the PATH may lead to no Python at all.
        if not subprocess.run([candidate, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode:
            return candidate
    raise NotHereError(f"needs Python 3.{minor}, not on this machine")


def _candidates(least: int) -> Iterator[str]:
    installed = (
        Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions",
        Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "uv" / "python",
    )
    for minor in range(least, least + 8):
        if found := shutil.which(f"python3.{minor}"):
            yield found
        for folder in installed:
            yield from map(str, sorted(folder.glob(f"*/bin/python3.{minor}")))
