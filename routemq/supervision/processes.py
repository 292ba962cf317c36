"""Supervised child processes: read line by line, restarted when they die, and never left behind."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from routemq.supervision.child import MOST_DEATHS, Child, Command, OnLine, log_line
from routemq.supervision.guardian_process import GuardianProcess

logger = logging.getLogger(__name__)

_POLL_S = 0.05
_STEADY_S = 30.0
"""A process that ran so long has started well: its earlier deaths are forgotten."""
_LOUD_AFTER_DEATHS = 3
_LONGEST_DELAY_S = 30.0
_MOST_DEATHS_WITHIN_S = 60.0
"""A process that dies `MOST_DEATHS` times in this time has a cause that no further start takes away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """A process that died so often in a short time that starting it again helps nobody.

    Attributes:
        deaths: How often, within `within_s` seconds.
        exit_code: Of the latest death, negative for a signal.
        last_lines: What it wrote last.
    """

    name: str
    deaths: int
    within_s: float
    exit_code: int | None
    last_lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """How one process is, at one moment.

    Attributes:
        pid: Of the latest start.
        ready: Whether it lives and has said that it serves.
        restarts: How often it died and was started again.
        exit_code: Of the latest death, negative for a signal; None when it has not died.
        started_at: When, on the monotonic clock.
    """

    name: str
    pid: int
    alive: bool
    ready: bool
    restarts: int
    exit_code: int | None
    started_at: float


class Supervisor:
    """Keeps processes running until they are stopped. Safe to use from several threads.

    Each process is the leader of a session of its own. When this process dies, even by SIGKILL, they end as well.

    Args:
        on_line: Takes what the processes write.
        gives_up: Whether a process that dies five times in a minute stays dead, and is told of in `given_up`; if not,
            it is started again for ever, less and less often.

    Attributes:
        given_up: The first process that stays dead so.
    """

    def __init__(self, on_line: OnLine = log_line, *, gives_up: bool = False) -> None:
        self.given_up: GivenUp | None = None
        self._gives_up = gives_up
        self._on_line = on_line
        self._children: dict[str, Child] = {}
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._guardian: GuardianProcess | None = None
        self._monitor: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def states(self) -> tuple[ProcessState, ...]:
        """A snapshot of every process, in the order they were started in."""
        with self._lock:
            return tuple(
                ProcessState(
                    name=name,
                    pid=child.popen.pid,
                    alive=child.alive,
                    ready=child.is_ready and child.alive,
                    restarts=child.restarts,
                    exit_code=child.exit_code,
                    started_at=child.started_at,
                )
                for name, child in self._children.items()
            )

    def start(self, *commands: Command) -> None:
        """Start processes; returns at once.

        Raises:
            ValueError: A process of this name runs already.
            OSError: The program is not there.
        """
        with self._lock:
            self._watch()
            for command in commands:
                if command.name in self._children:
                    raise ValueError(f"a process called {command.name!r} runs already")
                child = Child(command, self._on_line)
                self._children[command.name] = child
                self._tell_guardian("+", child)

    def wait_ready(
        self, names: Collection[str], *, timeout_s: float, cancelled: Callable[[], bool] = lambda: False
    ) -> tuple[str, ...]:
        """Wait until the processes serve; return the names of those that do not, for the time is up or it is cancelled.

        A process that died and is not to be restarted is not waited for.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            with self._lock:
                waiting = {name: child for name, child in self._children.items() if name in names}
            late = tuple(name for name, child in waiting.items() if not (child.is_ready and child.alive))
            hopeful = any(child.alive or child.command.restart for name, child in waiting.items() if name in late)
            if not hopeful or time.monotonic() >= deadline or cancelled():
                return late
            time.sleep(_POLL_S)

    def restart(self, *names: str) -> None:
        """Stop processes in peace and start them again."""
        with self._lock:
            commands = [self._children[name].command for name in names]
        self.stop(*names)
        self.start(*commands)

    def stop(self, *names: str, within_s: float | None = None) -> None:
        """Stop these processes at the same time, and wait until they and all that they started are gone.

        Args:
            names: One that is not there is passed over.
            within_s: Gives the first of their stop signals less time, so that all is over by then.
        """
        with self._lock:
            children = [self._children[name] for name in names if name in self._children]
            for child in children:
                child.wanted = False
        stages = max((len(child.command.stop_signals) for child in children), default=0)
        deadline = None if within_s is None else time.monotonic() + within_s
        for stage in range(stages):
            self._stop_stage(children, stage, deadline)
        for child in children:
            if child.alive:
                logger.warning("process does not stop, killed name=%s pid=%d", child.command.name, child.popen.pid)
                child.kill_group()
            child.bury()
        with self._lock:
            for child in children:
                self._tell_guardian("-", child)
                self._children.pop(child.command.name, None)

    def kill(self) -> None:
        """SIGKILL for all, at once; `close` remains to be called."""
        with self._lock:
            for child in self._children.values():
                child.wanted = False
                if child.alive:
                    child.kill_group()

    def close(self) -> None:
        """Stop what still runs, the latest first, and end the supervision."""
        for name in [state.name for state in reversed(self.states)]:
            self.stop(name)
        self._closing.set()
        if self._monitor is not None:
            self._monitor.join()
        if self._guardian is not None:
            self._guardian.close()
        self._guardian = self._monitor = None

    @staticmethod
    def _stop_stage(children: Iterable[Child], stage: int, deadline: float | None) -> None:
        now = time.monotonic()
        deadlines: list[tuple[Child, float]] = []
        for child in children:
            if stage < len(child.command.stop_signals):
                number, patience_s = child.command.stop_signals[stage]
                if deadline is not None:
                    # The signals to come keep their time.
                    later_s = sum(seconds for _, seconds in child.command.stop_signals[stage + 1 :])
                    patience_s = max(0.0, min(patience_s, deadline - now - later_s))
                child.signal(number)
                deadlines.append((child, now + patience_s))
        while any(child.alive and time.monotonic() < deadline for child, deadline in deadlines):
            time.sleep(_POLL_S)

    def _watch(self) -> None:
        if self._monitor is not None:
            return
        self._closing.clear()
        self._guardian = GuardianProcess()
        self._monitor = threading.Thread(target=self._keep_running, name="supervisor", daemon=True)
        self._monitor.start()

    def _tell_guardian(self, sign: str, child: Child) -> None:
        if self._guardian is not None:
            self._guardian.tell(sign, child.popen.pid)

    def _keep_running(self) -> None:
        while not self._closing.wait(_POLL_S):
            with self._lock:
                if self._guardian is not None:
                    self._guardian.keep(child.popen.pid for child in self._children.values() if child.alive)
                for child in self._children.values():
                    if not child.wanted or child.alive:
                        continue
                    if child.start_at is None:
                        self._plan_restart(child)
                    elif time.monotonic() >= child.start_at:
                        self._spawn_again(child)

    def _plan_restart(self, child: Child) -> None:
        child.bury()
        self._tell_guardian("-", child)
        name, steady = child.command.name, time.monotonic() - child.started_at > _STEADY_S
        child.deaths_in_a_row = 1 if steady else child.deaths_in_a_row + 1
        if not child.command.restart:
            child.wanted = False
            logger.error("process ended name=%s exit=%s", name, child.exit_code)
            return
        now = time.monotonic()
        child.died_at.append(now)
        if self._gives_up and len(child.died_at) == MOST_DEATHS and now - child.died_at[0] <= _MOST_DEATHS_WITHIN_S:
            child.wanted = False
            self.given_up = self.given_up or GivenUp(
                name=name,
                deaths=MOST_DEATHS,
                within_s=now - child.died_at[0],
                exit_code=child.exit_code,
                last_lines=tuple(child.last_lines),
            )
            return
        delay_s = min(_LONGEST_DELAY_S, 0.5 * 2 ** (child.deaths_in_a_row - 1))
        child.start_at = time.monotonic() + delay_s
        if child.deaths_in_a_row < _LOUD_AFTER_DEATHS:
            logger.warning("process died name=%s exit=%s restart_in_s=%.1f", name, child.exit_code, delay_s)
        else:
            logger.error(
                "PROCESS DIED %d TIMES IN A ROW name=%s exit=%s restart_in_s=%.1f; its last words:\n%s",
                child.deaths_in_a_row, name, child.exit_code, delay_s, "\n".join(child.last_lines),
            )  # fmt: skip

    def _spawn_again(self, child: Child) -> None:
        child.restarts += 1
        try:
            child.spawn()
        except OSError as exc:
            logger.error("process cannot be started name=%s error=%s", child.command.name, exc)
            child.start_at = time.monotonic() + _LONGEST_DELAY_S
            return
        self._tell_guardian("+", child)
