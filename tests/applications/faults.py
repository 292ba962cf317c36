"""The application of the fault runs: what succeeds, what fails once or always, and what kills its worker."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from routemq import Message, Reject, RetryPolicy, Router

_FOLDER = Path(os.environ.get("FAULTS_FOLDER", "unused"))


def done(number: int) -> None:
    """Write down a run, in the page cache before the message counts as done: no fault of the run reaches it there."""
    # Opened for each run: a file descriptor of its own for each thread and each forked child.
    line = os.open(_FOLDER / f"runs-{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(line, f"{number} {time.monotonic():.6f}\n".encode())
    finally:
        os.close(line)


async def succeed(number: int) -> None:
    done(number)


def fail_once(number: int, message: Message) -> None:
    if message.attempt == 1:
        raise ValueError("not at the first attempt")
    done(number)


def fail_always(number: int) -> None:
    raise ValueError(f"never {number}")


def reject(number: int) -> None:
    raise Reject(f"not {number}")


def expect_int(number: int, payload: int) -> None:
    done(number)


def kill_worker(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


router = Router()
_topic = os.environ.get("FAULTS_TOPIC", "faults")
_retry = RetryPolicy(base_delay_s=0.5)
_controllers: dict[str, Callable[..., Any]] = {
    "succeed": succeed,
    "fail_once": fail_once,
    "fail_always": fail_always,
    "reject": reject,
    "expect_int": expect_int,
    "kill_worker": kill_worker,
}
for _kind, _controller in _controllers.items():
    for _way, _shared in {"shared": True, "alone": False}.items():
        router.on(
            f"{_topic}/{_way}/{_kind}/{{number:int}}", _controller, shared=_shared, queue="faults", worker_count=1,
            retry=_retry,
        )  # fmt: skip
