"""One contestant, measured once: its workers alone on a full queue, then all of it from the publisher on."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from routemq_dev.bench import recorder
from routemq_dev.bench.figures import Figures
from routemq_dev.bench.measuring import NO_PROGRESS_S, Measuring
from routemq_dev.bench.quick_publisher import FIRST_NUMBER, QuickPublisher, payload_of
from routemq_dev.bench.run import Bench
from routemq_dev.bench.side import Side, WorkerShape

from benchmarks.peers.contestants import Contestant
from routemq.errors import RouteMQError
from routemq.supervision.processes import Supervisor

_LONGEST_WAIT_S = 60.0
_STOP_S = 5.0
_POLL_S = 0.01
_PROBE_S = 0.3


class NothingArrivesError(RouteMQError):
    """A contestant that serves, as it says, runs nothing of what is published."""

    def __init__(self, *, name: str, within_s: float) -> None:
        self.name, self.within_s = name, within_s
        super().__init__(f"{name} runs nothing of what is published, for {within_s:g} s")


@dataclass(slots=True, kw_only=True)
class Bout(Bench):
    """One contestant's turn, with servers of its own, so that nobody leaves another anything.

    Attributes:
        programs: Of its environment.
        backlog: How many messages its workers alone get; 0: they are not measured alone.
        alone: What came of that: messages per second, processor time, lost and run twice.
    """

    contestant: Contestant
    programs: Path
    backlog: int
    shape: WorkerShape = field(default_factory=lambda: WorkerShape(pool="", workers=2, concurrency=1))
    peer: bool = False
    alone: Figures = field(default_factory=Figures)

    def sides(self, folder: Path, mqtt_port: int, redis_port: int) -> list[Side]:
        """Return the one that is measured."""
        shutil.copy(recorder.__file__, folder / "recorder.py")
        return [self.contestant.side(folder, self.programs, mqtt_port=mqtt_port, redis_port=redis_port)]

    def measure(self, side: Side, publisher: QuickPublisher, supervisor: Supervisor) -> Figures:
        """Measure both, and end its processes."""
        side.runs.mkdir()
        if self.backlog:
            self._measure_alone(side, supervisor)
            self.start(supervisor, side.ingest)
        else:
            self.start(supervisor, *side.commands)
        self._get_one_through(side, publisher, supervisor)
        measuring = Measuring(
            side, self.plan, publisher, supervisor, check=lambda: self.check(supervisor), tell=lambda *_: None
        )
        figures = measuring.run_under_load()
        self._account(side, supervisor)
        supervisor.stop(*(command.name for command in side.commands), within_s=_STOP_S)
        return figures

    @property
    def _filled(self) -> range:
        """The numbers of the backlog, which the publisher does not use."""
        return range(FIRST_NUMBER - self.backlog, FIRST_NUMBER)

    def _measure_alone(self, side: Side, supervisor: Supervisor) -> None:
        numbers = self._filled
        self.contestant.fill(side, [(f"bench/d{number % 100}/data", payload_of(number).decode()) for number in numbers])
        # They take what they find before they say that they are ready.
        supervisor.start(*side.workers)
        with closing(recorder.RunReader(side.runs, numbers)) as reader:
            for _ in self._until_nothing_comes(reader, supervisor):
                if reader.count() >= self.backlog:
                    break
            runs = sorted(reader.runs(), key=lambda run: run[1])
        # Neither the start of the second worker, nor the end, when one has nothing more to do.
        tenth = len(runs) // 10
        if tenth:
            took_s = runs[-tenth][1] - runs[tenth][1]
            self.alone.end_to_end.append((len(runs) - 2 * tenth) / took_s)

    def _account(self, side: Side, supervisor: Supervisor) -> None:
        """Count what became of the backlog, when whoever was late has had the time of the other measurement too."""
        with closing(recorder.RunReader(side.runs, self._filled)) as reader:
            for _ in self._until_nothing_comes(reader, supervisor):
                if reader.count() >= self.backlog:
                    break
            runs = Counter(number for number, _ in reader.runs() if number in self._filled)
        self.alone.published = self.backlog
        self.alone.lost = self.backlog - len(runs)
        self.alone.duplicates = runs.total() - len(runs)

    def _until_nothing_comes(self, reader: recorder.RunReader, supervisor: Supervisor) -> Iterator[None]:
        """Give turns until nothing more is run; the first may take as long as a start."""
        began = progress_at = time.monotonic()
        seen = 0
        while (now := time.monotonic()) - progress_at < (NO_PROGRESS_S if seen else _LONGEST_WAIT_S):
            self.check(supervisor)
            yield
            if (count := reader.count()) > seen:
                seen, progress_at = count, now
            if now - began > _LONGEST_WAIT_S:
                return
            time.sleep(_POLL_S)

    def _get_one_through(self, side: Side, publisher: QuickPublisher, supervisor: Supervisor) -> None:
        """Publish until one of these is run: who does not say that it is subscribed loses nothing from then on.

        Raises:
            NothingArrivesError: None is.
        """
        probes = range(publisher.next_number, sys.maxsize)
        with closing(recorder.RunReader(side.runs, probes)) as reader:
            began = time.monotonic()
            while not reader.count():
                if time.monotonic() - began > _LONGEST_WAIT_S:
                    raise NothingArrivesError(name=side.name, within_s=_LONGEST_WAIT_S)
                publisher.publish(1, check=lambda: self.check(supervisor))
                until = time.monotonic() + _PROBE_S
                while not reader.count() and time.monotonic() < until:
                    self.check(supervisor)
                    time.sleep(_POLL_S)
