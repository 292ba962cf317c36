"""When somebody should look."""

import time
from dataclasses import replace

import pytest

from routemq.alerts.conditions import Limits, find_conditions
from routemq.metrics.fleet import FleetReading, QueueReading, ServerReading
from routemq.metrics.presence import Processes, ProcessReport
from routemq.metrics.totals import RouteTotals

NOW = time.time()
INGEST = ProcessReport(kind="ingest", name="i-0", at=NOW)
QUIET = FleetReading(
    at=NOW,
    totals={"r": RouteTotals(received=100, done=90, dead=10)},
    queues={"q": QueueReading(workers=("w",))},
    dead={},
    full_routes=frozenset(),
    processes=Processes(at=NOW, reports=(INGEST,)),
    server=ServerReading(),
    lease_holder=None,
)
LIMITS = Limits(dead_per_minute=10, oldest_s=300)


def found(fleet: FleetReading, before: FleetReading | None = None) -> dict[str, str]:
    return {each.key: each.text for each in find_conditions(fleet, before, queues={"q": 1}, limits=LIMITS)}


def test_a_quiet_fleet_has_none() -> None:
    assert found(QUIET, replace(QUIET, at=NOW - 60)) == {}


@pytest.mark.parametrize(
    ("fleet", "key", "words"),
    [
        (replace(QUIET, full_routes=frozenset({"r"})), "full:r", "not consumed"),
        (
            replace(QUIET, queues={"q": QueueReading(workers=("w",), waiting=7, oldest_at=NOW - 301)}),
            "waiting:q", "waited for 301 s, 7 wait",
        ),
        (replace(QUIET, queues={"q": QueueReading()}), "unserved:q", "no worker"),
        (replace(QUIET, processes=Processes(at=NOW, reports=())), "ingest", "no ingest process"),
        (
            replace(QUIET, processes=Processes(at=NOW, reports=(replace(INGEST, problem="redis is full"),))),
            "ingest:i-0", "redis is full",
        ),
        (replace(QUIET, server=ServerReading(memory_bytes=95, max_memory_bytes=100)), "memory", "95%"),
    ],
)  # fmt: skip
def test_each_condition_is_found_alone(fleet: FleetReading, key: str, words: str) -> None:
    ((only, text),) = found(fleet).items()
    assert (only, words in text) == (key, True), text


def test_a_rate_needs_a_reading_before() -> None:
    before = replace(QUIET, at=NOW - 30, totals={"r": RouteTotals(dead=4)})
    assert found(QUIET) == {}
    assert list(found(QUIET, before)) == ["dead:r"]
    assert found(QUIET, replace(before, totals={"r": RouteTotals(dead=6)})) == {}


def test_what_waits_because_it_is_paused_is_not_told_but_what_nobody_serves_is() -> None:
    waits = QueueReading(workers=("w",), waiting=1, oldest_at=NOW - 9000)
    assert "waiting:q" in found(replace(QUIET, queues={"q": waits}))
    assert found(replace(QUIET, queues={"q": waits}, resting=frozenset({"q"}))) == {}
    assert "unserved:q" in found(replace(QUIET, queues={"q": QueueReading()}, resting=frozenset({"q"})))
