"""What a controller has forked, and has not ended: it comes back from the run as if it were the worker."""

import logging
import os
import signal

from routemq.text import error_line

logger = logging.getLogger(__name__)

_SAY_S = 5


def end_copy(pid: int, error: BaseException | None = None) -> None:
    """End this process, unless it is the one in which the run began; called wherever a controller comes back.

    It has the sockets and pipes of the worker in hand, and would record the end of a message that the worker runs, read
    what is sent to the worker, and take messages of which nobody would hear again.

    Args:
        pid: Of the process in which the run began.
        error: What the controller has raised; `SystemExit` is how it ends such a process, though not the worker.
    """
    if os.getpid() == pid:
        return
    status = 0 if error is None else 1
    try:
        if isinstance(error, SystemExit):
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        else:
            # Another thread may have had a lock of the log's in hand as this process was forked; nobody opens it here.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_SAY_S)
            came = "returned" if error is None else f"failed: {error_line(error)}"
            logger.error("a process that a controller has forked has %s; it ends here, os._exit() is its own way", came)
    finally:
        # Nothing of the worker's is closed, which would be told to who is at the other end.
        os._exit(status & 0xFF)
