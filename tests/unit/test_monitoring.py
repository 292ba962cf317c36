"""Rules and dashboard name metrics that exist, and the rules fire for what they are there for."""

import json
import re
import subprocess
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.registry import Collector
from routemq_ingest.ingest_metrics import IngestMetrics
from routemq_ingest.statistics import Health, Statistics
from routemq_tasks.worker_health import WorkerMetrics

from routemq.metrics.exposition import FleetMetrics
from routemq.metrics.fleet import DeadReading, FleetReading, QueueReading, ServerReading
from routemq.metrics.presence import Processes, ProcessReport
from routemq.metrics.timings import Timings
from routemq.metrics.totals import RouteTotals
from tests.servers import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
NAME = re.compile(r"\broutemq_[a-z_]+")


def served() -> set[str]:
    """Every metric of every process, by the names under which Prometheus knows it."""
    process = ProcessReport(kind="ingest", name="i", version="1", group="g", memory_bytes=1, at=1.0)
    fleet = FleetReading(
        at=1.0, totals={"r": RouteTotals(received=1)}, queues={"q": QueueReading(oldest_at=1.0)},
        dead={"r": DeadReading(count=1, oldest_at=1.0)}, full_routes=frozenset(),
        processes=Processes(at=1.0, reports=(process,)),
        server=ServerReading(memory_bytes=1, max_memory_bytes=2), lease_holder="i",
    )  # fmt: skip
    timings = Timings()
    timings.ended("r", took_s=1.0, received_at=1.0, is_first=True, is_done=True)
    worker = SimpleNamespace(consumer=SimpleNamespace(), pool=SimpleNamespace(num_processes=1))
    ingest = Health(alive=True, trouble=None, pause=None, holds=False, statistics=Statistics())
    collectors: list[Collector] = [
        FleetMetrics(lambda: fleet, wanted={}),
        IngestMetrics(lambda: ingest, lambda: 0),
        WorkerMetrics(worker, timings),
    ]
    return {sample.name for found in collectors for family in found.collect() for sample in family.samples}


@pytest.mark.parametrize("name", ["rules.yaml", "rules_test.yaml", "dashboard.json"])
def test_every_metric_that_is_named_is_served(name: str) -> None:
    assert set(NAME.findall((FOLDER / name).read_text("utf-8"))) - served() == set()


def test_every_metric_of_the_fleet_is_on_the_dashboard() -> None:
    text = (FOLDER / "dashboard.json").read_text("utf-8")
    shown = set(NAME.findall(text))
    hidden = {
        "routemq_queue_resting",
        "routemq_lease_holder",
        "routemq_ingest_batches_total",
        "routemq_ingest_late_acks_total",
    }
    unseen = {name for name in served() - shown - hidden if not name.startswith(("routemq_worker_", "routemq_ingest_"))}
    assert {name for name in unseen if not name.endswith(("_sum", "_count", "_created"))} == set()


def test_rules_pass_their_own_tests() -> None:
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "rules_test.yaml"]):
        run = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, encoding="utf-8", check=False)
        assert run.returncode == 0, run.stdout + run.stderr


def test_every_rule_is_tried_and_documented() -> None:
    rules = set(re.findall(r"alert: (\w+)", (FOLDER / "rules.yaml").read_text("utf-8")))
    tried = set(re.findall(r'alertname="(RouteMQ\w+)"', (FOLDER / "rules_test.yaml").read_text("utf-8")))
    documented = set(re.findall(r"`(RouteMQ\w+)`", (REPOSITORY / "docs" / "monitoring.md").read_text("utf-8")))
    assert rules == tried == documented


def test_panels_have_a_place_of_their_own_a_source_and_names() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for one, other in combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        assert (
            one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )  # fmt: skip
    for panel in PANELS:
        assert panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
