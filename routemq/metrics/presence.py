"""Which processes there are: each reports itself to Redis every few seconds, so that nobody has to ask around."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, cast

import orjson
import pydantic
import redis

from routemq.queues import Keys
from routemq.text import error_line

logger = logging.getLogger(__name__)

REPORT_EVERY_S = 2.0
STALE_S = 10.0
"""A process that has said nothing for so long is not there, or cannot do its work."""

_FORGET_S = 86_400.0
"""A process that ended without a word is remembered for so long, for whoever asks what became of it."""

ProcessKind = Literal["ingest", "worker"]

_OTHER_NAMES: dict[ProcessKind, str] = {
    "ingest": "they take each other's MQTT session over again and again: end one of them, use --workers for several on "
    "one host, MQTT_CLIENT_ID=auto for several hosts of one name",
    "worker": "commands and reports mix them up: end one of them, or give each a name, as with -n sensors-2@%h",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessReport:
    """How one process says that it is.

    Attributes:
        name: Unique in the fleet: a worker's node name, an ingest process's MQTT client id.
        version: Of RouteMQ.
        group: Of its shared subscriptions.
        queues: Those that a worker consumes now, or will when their routes are resumed.
        concurrency: How many messages a worker may run at once; for how many it has hands now.
        running: Messages that run now.
        held: Messages that were taken and are not acknowledged.
        problem: Why it cannot do its work now, None when it can.
        memory_bytes: The process and its children.
        pids: Of its pool's children.
        details: What only this kind of process knows, and its `namesake`, if there is one.
        started_at: Unix seconds by Redis' clock; likewise `at`, the time of this report.
        clock_ahead_s: By how much its host's clock is ahead of Redis'.
    """

    kind: ProcessKind
    name: str
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    version: str = ""
    group: str = ""
    queues: tuple[str, ...] = ()
    concurrency: int = 0
    hands: int = 0
    running: int = 0
    held: int = 0
    problem: str | None = None
    memory_bytes: int = 0
    pids: tuple[int, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    started_at: float = 0.0
    at: float = 0.0
    clock_ahead_s: float = 0.0

    @staticmethod
    def from_json(text: bytes) -> "ProcessReport | None":
        """Read a report; None when it is not one, or one of another release that cannot be understood."""
        try:
            return _REPORT.validate_json(text)
        except pydantic.ValidationError:
            return None

    def is_fresh(self, now: float) -> bool:
        """Return whether the report is recent, by Redis' clock."""
        return now - self.at <= STALE_S


_REPORT = pydantic.TypeAdapter(ProcessReport)


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """Every process that has reported itself in the last day.

    Attributes:
        at: When they were read, Unix seconds by Redis' clock.
    """

    at: float
    reports: tuple[ProcessReport, ...]

    def live(self, kind: ProcessKind) -> tuple[ProcessReport, ...]:
        """Return those of a kind that are there now."""
        return tuple(report for report in self.reports if report.kind == kind and report.is_fresh(self.at))

    def lost(self) -> tuple[ProcessReport, ...]:
        """Return those that ended, or fell silent, without a goodbye."""
        return tuple(report for report in self.reports if not report.is_fresh(self.at))

    def serving(self, queue: str) -> tuple[ProcessReport, ...]:
        """Return the live workers of a queue."""
        return tuple(report for report in self.live("worker") if queue in report.queues)


def read_processes(client: "redis.Redis", keys: Keys) -> Processes:
    """Return who is there.

    Raises:
        redis.RedisError: Redis cannot be read.
    """
    pipe = client.pipeline(transaction=False)
    pipe.time()
    pipe.hvals(keys.processes)
    (seconds, microseconds), found = pipe.execute()
    reports = [ProcessReport.from_json(text) for text in cast("list[bytes]", found)]
    return Processes(
        at=seconds + microseconds / 1_000_000,
        reports=tuple(sorted(filter(None, reports), key=lambda report: (report.kind, report.name))),
    )


class Presence(threading.Thread):
    """Reports this process every two seconds, from a thread of its own; says goodbye when it is stopped.

    Args:
        client: Of this thread's own.
        make_report: Called in this thread; it says how the process is.
    """

    def __init__(self, client: "redis.Redis", keys: Keys, make_report: Callable[[], ProcessReport]) -> None:
        super().__init__(name="routemq-presence", daemon=True)
        self._client, self._keys, self._make_report = client, keys, make_report
        self._stopped = threading.Event()
        self._name: str | None = None
        self._started_at: float | None = None
        self._namesake: ProcessReport | None = None
        self._met_at = 0.0

    def run(self) -> None:
        pause_s = 0.0
        while not self._stopped.wait(pause_s):
            pause_s = REPORT_EVERY_S
            try:
                self._report()
            # What is told of a process is not worth its end, whatever goes wrong in the telling.
            except Exception as exc:  # noqa: BLE001
                logger.debug("this process is not reported: %s", error_line(exc))

    def stop(self) -> None:
        """Say goodbye; returns when it is said, or cannot be."""
        self._stopped.set()
        if self.ident is not None:
            self.join(REPORT_EVERY_S)
        if self._name is not None:
            try:
                self._client.hdel(self._keys.processes, self._name)
            except redis.RedisError as exc:
                logger.debug("no goodbye, redis is away: %s", error_line(exc))

    def _report(self) -> None:
        made = self._make_report()
        name = f"{made.kind}:{made.name}"
        pipe = self._client.pipeline(transaction=False)
        pipe.time()
        pipe.hget(self._keys.processes, name)
        asked_at = time.time()
        (seconds, microseconds), before = pipe.execute()
        now = seconds + microseconds / 1_000_000
        ahead_s = clock_ahead_s(now, asked_at=asked_at, told_at=time.time())
        if self._started_at is None:
            self._started_at = now
            self._forget_the_old(now)
        report = replace(made, at=now, started_at=self._started_at, clock_ahead_s=round(ahead_s, 3))
        if before is not None:
            self._look_for_namesake(report, ProcessReport.from_json(before))
        if self._namesake is not None and now - self._met_at <= STALE_S:
            told = f"process {self._namesake.pid} on {self._namesake.host}"
            report = replace(report, details=report.details | {"namesake": told})
        self._name = name
        self._client.hset(self._keys.processes, name, orjson.dumps(asdict(report)))

    def _look_for_namesake(self, report: ProcessReport, before: ProcessReport | None) -> None:
        """Tell of another process under this one's name, which it must not have: each takes what is the other's."""
        # The first time it may be the last word of one that was killed a moment ago; later it has overwritten ours.
        if before is None or self._name is None or not before.is_fresh(report.at):
            return
        # Not by host and pid: containers of one host name have the same pid, and a new one has those of the old one.
        if before.started_at == report.started_at:
            return
        known, self._namesake, self._met_at = self._namesake, before, report.at
        if known is not None and known.started_at == before.started_at:
            return
        logger.error(
            "another process is called %s too: process %d on %s, this is process %d on %s; %s",
            report.name, before.pid, before.host, report.pid, report.host, _OTHER_NAMES[report.kind],
        )  # fmt: skip

    def _forget_the_old(self, now: float) -> None:
        found = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.processes))
        for name, text in found.items():
            report = ProcessReport.from_json(text)
            if report is None or now - report.at > _FORGET_S:
                self._client.hdel(self._keys.processes, name)


def clock_ahead_s(theirs: float, *, asked_at: float, told_at: float) -> float:
    """Return by how much our clock is ahead of theirs at the least, negative when it is behind.

    They looked at it at some time between the two of ours; however long that took, it is no fault of a clock.
    """
    return max(0.0, asked_at - theirs) + min(0.0, told_at - theirs)
