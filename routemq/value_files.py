"""Settings whose value a file holds, as secrets come into containers: `REDIS_URL_FILE=/run/secrets/redis-url`."""

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from routemq.errors import ConfigurationError

SUFFIX = "_FILE"

_LONGEST_BYTES = 65_535


def values_of_files(given: Mapping[str, str], variables: Iterable[str]) -> dict[str, str]:
    """Return what the files hold that are named for one of these variables.

    Args:
        given: An environment, or what `.env` says; names in capitals.

    Raises:
        ConfigurationError: A file is not one line of text, or a variable is set beside its file. Names the file, and
            shows nothing of it.
    """
    found: dict[str, str] = {}
    for variable in variables:
        path = given.get(variable + SUFFIX, "").strip()
        if not path:
            continue
        if given.get(variable, "").strip():
            raise ConfigurationError(variable=variable + SUFFIX, value=path, allowed=f"only without {variable}")
        try:
            found[variable] = _read(path)
        except (OSError, ValueError) as exc:
            problem = getattr(exc, "strerror", None) or exc
            raise ConfigurationError(
                variable=variable + SUFFIX,
                value=path,
                allowed=f"a file of one line of UTF-8 text: {problem}",
            ) from None
    return found


def _read(path: str) -> str:
    """Return the one line of a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is none; says why, and shows nothing of it.
    """
    # Each process reads it for itself: a pipe would keep one waiting for who writes, and have nothing for the next.
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise ValueError("this one is a folder, a pipe or a device")
    with Path(path).open("rb") as stream:
        content = stream.read(_LONGEST_BYTES + 1)
    if len(content) > _LONGEST_BYTES:
        raise ValueError(f"this one has more than {_LONGEST_BYTES} bytes")
    try:
        # A BOM is what some editors put before text; a line break at the end what `echo secret > file` leaves behind.
        text = content.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("this one is binary, or in another encoding") from None
    if not text.strip():
        raise ValueError("this one is empty")
    if len(text.splitlines()) > 1:
        raise ValueError("this one has several lines")
    if "\0" in text:
        raise ValueError("this one has NUL bytes, as binary files and UTF-16 have")
    return text
