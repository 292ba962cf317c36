"""One run of `routemq bench`: its own servers, then one side after the other, and nothing is left behind."""

import logging
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from routemq.errors import RouteMQError
from routemq.supervision.child import Command
from routemq.supervision.processes import Supervisor
from routemq.supervision.stop import Stop
from routemq_dev.bench.figures import Figures
from routemq_dev.bench.measuring import Measuring, Plan
from routemq_dev.bench.quick_publisher import QuickPublisher
from routemq_dev.bench.side import NAIVE, ROUTEMQ, Side, WorkerShape, naive_side, routemq_side
from routemq_dev.ports import LOOPBACK, free_port
from routemq_dev.servers import mqtt_broker, redis_server

_START_S = 60.0

Tell = Callable[[str, Figures, str], None]
"""Called with the name of a side, its figures so far and what it does now."""


class BenchStoppedError(RouteMQError):
    """The end was asked for."""

    def __init__(self) -> None:
        super().__init__("stopped before the end")


class ProcessEndedError(RouteMQError):
    """A process of the bench does not serve, or not any more."""

    def __init__(self, *, name: str, last_lines: tuple[str, ...]) -> None:
        self.name, self.last_lines = name, last_lines
        said = "\n  ".join(last_lines) or "(nothing)"
        super().__init__(f"the bench's process {name!r} does not run; it said last:\n  {said}")


@dataclass(slots=True, kw_only=True)
class Bench:
    """One run.

    Attributes:
        shape: The workers of both sides.
        plan: What each side is put through.
        peer: Whether the naive bridge is measured too.
        stopping: Set it, and the run ends with `BenchStoppedError`.
        broker_is: What the MQTT broker is called, once it is chosen.
        redis_is: The same of Redis.
    """

    shape: WorkerShape
    plan: Plan
    peer: bool
    tell: Tell
    stopping: Stop = field(default_factory=Stop)
    broker_is: str = ""
    redis_is: str = ""
    _last_lines: dict[str, deque[str]] = field(default_factory=dict)

    def run(self) -> dict[str, Figures]:
        """Measure; return the figures of each side.

        Raises:
            RouteMQError: A process does not serve, or the end was asked for.
        """
        # A process that ends is this run's own error, with its last words; its supervisor need not say it too.
        logging.getLogger("routemq.supervision.processes").setLevel(logging.CRITICAL)
        with tempfile.TemporaryDirectory(prefix="routemq-bench-") as name, Supervisor(self._line) as supervisor:
            folder = Path(name)
            mqtt_port = free_port()
            self.broker_is, mqtt = mqtt_broker(folder, mqtt_port)
            redis_port = free_port()
            self.redis_is, store = redis_server(folder, redis_port)
            self.start(supervisor, mqtt, store)
            publisher = QuickPublisher(LOOPBACK, mqtt_port)
            try:
                found: dict[str, Figures] = {}
                for side in self.sides(folder, mqtt_port, redis_port):
                    found[side.name] = self.measure(side, publisher, supervisor)
                return found
            finally:
                publisher.close()

    def sides(self, folder: Path, mqtt_port: int, redis_port: int) -> list[Side]:
        """Return who is measured, one after the other."""
        sides = [routemq_side(folder, self.shape, mqtt_port=mqtt_port, redis_port=redis_port)]
        if self.peer:
            sides.append(naive_side(folder, self.shape, mqtt_port=mqtt_port, redis_port=redis_port))
        return sides

    def measure(self, side: Side, publisher: QuickPublisher, supervisor: Supervisor) -> Figures:
        """Put one side through the plan, and end its processes."""
        self.tell(side.name, Figures(), "starting")
        side.runs.mkdir()
        self.start(supervisor, *side.commands)
        measuring = Measuring(
            side,
            self.plan,
            publisher,
            supervisor,
            check=lambda: self.check(supervisor),
            tell=lambda figures, doing: self.tell(side.name, figures, doing),
        )
        figures = measuring.run()
        self.tell(side.name, figures, "")
        # Its session would go on collecting the other side's messages.
        supervisor.stop(*(command.name for command in side.commands))
        return figures

    def start(self, supervisor: Supervisor, *commands: Command) -> None:
        """Start these and return when all of them serve.

        Raises:
            RouteMQError: One does not, or the end was asked for.
        """
        supervisor.start(*commands)
        late = supervisor.wait_ready(
            [command.name for command in commands], timeout_s=_START_S, cancelled=self.stopping.is_set
        )
        if self.stopping.is_set():
            raise BenchStoppedError
        for name in late:
            raise ProcessEndedError(name=name, last_lines=tuple(self._last_lines.get(name, ())))

    def check(self, supervisor: Supervisor) -> None:
        """Go on only if all processes live, and nobody has asked for the end.

        Raises:
            RouteMQError: That is not so.
        """
        if self.stopping.is_set():
            raise BenchStoppedError
        for state in supervisor.states:
            if not state.alive:
                raise ProcessEndedError(name=state.name, last_lines=tuple(self._last_lines.get(state.name, ())))

    def _line(self, name: str, line: str) -> None:
        self._last_lines.setdefault(name, deque(maxlen=8)).append(line)


SIDES = (ROUTEMQ, NAIVE)
