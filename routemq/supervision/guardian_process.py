"""The process that ends what a supervisor leaves behind when it is killed itself."""

import logging
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

logger = logging.getLogger(__name__)

_PROGRAM = Path(__file__).with_name("guardian.py")
_BEGIN_EVERY_S = 5.0


class GuardianProcess:
    """Knows of each process group that it was told of, until it is closed; one thread at a time."""

    def __init__(self) -> None:
        self._popen: subprocess.Popen[bytes] | None = _begun()
        self._begun_at = float("-inf")

    def tell(self, sign: str, group: int) -> None:
        """Say that there is a group, `+`, or no more, `-`."""
        if self._popen is None or self._popen.stdin is None:
            return
        try:
            self._popen.stdin.write(f"{sign}{group}\n".encode())
        except OSError as exc:
            # The next one hears of all.
            logger.debug("guardian is gone error=%s", exc)

    def keep(self, groups: Iterable[int]) -> None:
        """Begin another one when this one has been killed, as by a system without memory.

        Args:
            groups: All that there are.
        """
        now = time.monotonic()
        if self._popen is None or self._popen.poll() is None or now - self._begun_at < _BEGIN_EVERY_S:
            return
        logger.warning("guardian died, another one begins exit=%s", self._popen.returncode)
        self.close()
        self._begun_at = now
        try:
            self._popen = _begun()
        except OSError as exc:
            logger.error("no guardian; a SIGKILL of this process would leave its children behind error=%s", exc)
        for group in groups:
            self.tell("+", group)

    def close(self) -> None:
        """Let it end what is left."""
        if self._popen is not None and self._popen.stdin is not None:
            self._popen.stdin.close()
            self._popen.wait()
        self._popen = None


def _begun() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_PROGRAM)],
        # Without a buffer, in which words to one that is gone would stay until the end, and fail there.
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
