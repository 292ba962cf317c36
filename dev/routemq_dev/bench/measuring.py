"""The rounds of one side: under load, from a backlog, and at a moderate rate."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from routemq.supervision.processes import Supervisor
from routemq_dev.bench.figures import Figures
from routemq_dev.bench.quick_publisher import FIRST_NUMBER, QuickPublisher
from routemq_dev.bench.recorder import RunReader
from routemq_dev.bench.side import Side
from routemq_dev.servers import REDIS_SERVER

IN_PIPELINE = 5_000
"""Published and not yet run: as many as keep every part busy, so that the publisher works until the end."""
NO_PROGRESS_S = 30.0
"""Longer than a busy machine stands still: what comes later is taken for lost."""

_WARM_UP = 500
_POLL_S = 0.003
_ANY_NUMBER = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one side is put through.

    Attributes:
        seconds: How long each measurement of a round takes, roughly.
        rate_per_s: At which the latency is measured, or half of what the side can do, if that is less.
    """

    rounds: int
    seconds: float
    rate_per_s: float


class Measuring:
    """One side that runs, and the publisher.

    Args:
        check: Called often; may raise.
        tell: Told what is being done, with the figures so far.
    """

    def __init__(
        self,
        side: Side,
        plan: Plan,
        publisher: QuickPublisher,
        supervisor: Supervisor,
        *,
        check: Callable[[], None],
        tell: Callable[[Figures, str], None],
    ) -> None:
        self.figures = Figures()
        self._side, self._plan, self._publisher, self._supervisor = side, plan, publisher, supervisor
        self._check, self._tell = check, tell
        self._since = publisher.next_number
        self._published = range(0)
        self._reader = RunReader(side.runs, self._to_come)

    def run(self) -> Figures:
        """Measure every round, and count what was lost and what was run twice."""
        try:
            self._warm_up()
            for number in range(1, self._plan.rounds + 1):
                self._round(f"round {number} of {self._plan.rounds}")
                self._account()
            return self.figures
        finally:
            self._reader.close()

    def run_under_load(self) -> Figures:
        """Measure once under load and no more, and count what was lost and what was run twice."""
        try:
            self._warm_up()
            self.figures.end_to_end.append(self._under_load())
            self._account()
            return self.figures
        finally:
            self._reader.close()

    @property
    def _to_come(self) -> range:
        """All that the publisher has not sent yet."""
        return range(self._publisher.next_number, sys.maxsize)

    def _warm_up(self) -> None:
        self._publish(_WARM_UP)
        self._wait()

    def _round(self, name: str) -> None:
        figures, plan = self.figures, self._plan
        self._tell(figures, f"{name}, under load")
        figures.end_to_end.append(self._under_load())
        self._tell(figures, f"{name}, a backlog")
        figures.backlog.append(self._from_backlog(max(1, int(figures.end_to_end[-1] * plan.seconds))))
        rate_per_s = max(1.0, min(plan.rate_per_s, figures.end_to_end[-1] / 2))
        self._tell(figures, f"{name}, latency at {rate_per_s:,.0f} messages/s")
        figures.latencies_ms.append(self._at_rate(rate_per_s))
        figures.rates.append(rate_per_s)

    def _under_load(self) -> float:
        began, first = time.monotonic(), self._publisher.next_number

        def room() -> int:
            done = self._reader.count()
            # A slow side must not work off for half a minute what was published in two seconds.
            return min(IN_PIPELINE, _WARM_UP + done // 2) - (self._publisher.next_number - first) + done

        spent_s = self._processor_s(*self._names)
        self._publish(_ANY_NUMBER, for_s=self._plan.seconds, room=room)
        count = self._wait()
        elapsed_s = time.monotonic() - began
        self.figures.processor_us.append((self._processor_s(*self._names) - spent_s) * 1e6 / max(1, count))
        return count / elapsed_s

    @property
    def _names(self) -> list[str]:
        return [command.name for command in self._side.commands]

    def _processor_s(self, *names: str) -> float:
        """Return the processor time that these processes have spent so far."""
        leaders = [psutil.Process(state.pid) for state in self._supervisor.states if state.name in names]
        everyone = [process for leader in leaders for process in (leader, *leader.children(recursive=True))]
        times = [process.cpu_times() for process in everyone]
        return sum(each.user + each.system for each in times)

    def _from_backlog(self, count: int) -> float:
        ingest = next(state.pid for state in self._supervisor.states if state.name == self._side.ingest.name)
        os.kill(ingest, signal.SIGSTOP)
        try:
            self._publish(count)
        finally:
            os.kill(ingest, signal.SIGCONT)
        began = time.monotonic()
        return self._wait() / (time.monotonic() - began)

    def _at_rate(self, rate_per_s: float) -> list[float]:
        # Messages that come one by one cost most in what they wake.
        names = (*self._names, REDIS_SERVER)
        spent_s = self._processor_s(*names)
        numbers = self._publish(max(1, int(rate_per_s * self._plan.seconds)), rate_per_s=rate_per_s)
        self._wait()
        self.figures.steady_processor_us.append((self._processor_s(*names) - spent_s) * 1e6 / len(numbers))
        at = self._publisher.published_at
        return sorted(
            (run_at - at[number - FIRST_NUMBER]) * 1000 for number, run_at in self._reader.runs() if number in numbers
        )

    def _publish(
        self,
        count: int,
        *,
        for_s: float = float("inf"),
        rate_per_s: float | None = None,
        room: Callable[[], int] = lambda: IN_PIPELINE,
    ) -> range:
        # What was lost of those before is not waited for again, and what was late does not count.
        self._reader.count_only(self._to_come)
        self._published = self._publisher.publish(
            count, for_s=for_s, rate_per_s=rate_per_s, room=room, check=self._check
        )
        return self._published

    def _wait(self) -> int:
        """Wait until what was published last is run, or nothing more is; return how much of it was."""
        seen, progress_at = self._reader.count(), time.monotonic()
        while seen < len(self._published) and time.monotonic() - progress_at < NO_PROGRESS_S:
            self._check()
            time.sleep(_POLL_S)
            now = self._reader.count()
            if now > seen:
                seen, progress_at = now, time.monotonic()
        return seen

    def _account(self) -> None:
        published = range(self._since, self._publisher.next_number)
        runs = Counter(number for number, _ in self._reader.runs() if number in published)
        self.figures.published = len(published)
        self.figures.lost = sum(1 for number in published if number not in runs)
        self.figures.duplicates = runs.total() - len(runs)
