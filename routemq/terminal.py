"""Standard output, whatever is behind it: a narrow encoding, a reader that has enough, a full disk, nothing."""

import codecs
import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

_ERRORS = "routemq.readable"
_LOOKS_LIKE = str.maketrans("…─│└┌┐┘├┤→↻·’“”▁▂▃▄▅▆▇█", '~-|++++++>*.\'""__.:-=##')
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def fit_output() -> None:
    """Have characters that the terminal's encoding lacks written as others that it has, instead of ending a command."""
    codecs.register_error(_ERRORS, _readable)
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:
            # Closed by whoever started us.
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)


@contextlib.contextmanager
def whole_output() -> Iterator[None]:
    """Write all of the output before the block ends; end in silence when nobody reads it, as in `… | head`.

    Raises:
        click.ClickException: The disk is full.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(1)
    except OSError as exc:
        if exc.errno not in _FULL:
            raise
        _drop_output()
        raise click.ClickException(f"cannot write: {exc.strerror}") from exc


def _drop_output() -> None:
    # What Python still holds of it would fail once more at exit, with a traceback.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _readable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return lacking.translate(_LOOKS_LIKE).encode("ascii", "replace").decode(), error.end
