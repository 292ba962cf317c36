"""Processes of the product that come back whatever ended them."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.processes import clean_environment, wait_until
from tests.servers import REPOSITORY


@dataclass(kw_only=True)
class Program:
    """A process of the product that is started again when it is gone, whoever ended it.

    Attributes:
        restart_at: When it is to be started again, while it is gone.
        deaths: How often it was found dead.
        paused: Which of its processes are stopped by SIGSTOP, and when each goes on.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    folder: Path
    popen: "subprocess.Popen[bytes] | None" = None
    restart_at: float | None = None
    deaths: int = 0
    paused: dict[int, float] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def alive(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def start(self) -> None:
        self.restart_at = None
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                list(self.argv),
                cwd=REPOSITORY,
                env=clean_environment(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for_output(self, text: str) -> None:
        """Wait until this is in its log."""
        wait_until(lambda: text in self.log.read_text("utf-8"), message=f"{self.name} says {text!r}")

    def family(self) -> list[psutil.Process]:
        """The process and its descendants, itself first."""
        if self.popen is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.popen.pid)
            return [process, *process.children(recursive=True)]
        return []

    def tend(self, chance: random.Random) -> None:
        """Let go on what was paused long enough, and start again what is gone, a moment later."""
        now = time.monotonic()
        for pid, until in list(self.paused.items()):
            if now >= until:
                del self.paused[pid]
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        if self.alive:
            return
        if self.restart_at is None:
            self.deaths += 1
            self.restart_at = now + chance.uniform(0, 1.5)
        elif now >= self.restart_at:
            self.start()

    def stop(self) -> None:
        """End it in peace, and what is left of it by force."""
        family = self.family()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        if self.popen is not None and self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(15)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self.popen is not None:
            self.popen.wait()
