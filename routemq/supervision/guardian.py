"""Ends what a supervisor leaves behind when it is killed itself.

Run as a script of its own, with the standard library alone. Its standard input says which process groups there are,
`+123` and `-123`, a line each; when that input ends the supervisor is gone, and so must be every group that is left.
(A parent-death signal would do less: Linux alone has it, it is tied to the thread that forked, and it reaches no
grandchild.)
"""

import os
import signal
import sys
import time
from contextlib import suppress

GRACE_S = 10.0


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        group = int(line[1:])
        if line.startswith(b"+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with suppress(OSError):
            os.kill(group, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while any(_leader_lives(group) for group in groups) and time.monotonic() < deadline:
        time.sleep(0.05)
    for group in groups:
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)


def _leader_lives(group: int) -> bool:
    try:
        os.kill(group, 0)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
