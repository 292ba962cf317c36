"""A worker's log for machines."""

import json

import pytest

from tests.processes import wait_until
from tests.servers import Redis
from tests.workers import Bench


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_failures_are_objects_with_route_and_message_and_do_not_flood(bench: Bench, pool: str) -> None:
    with bench.worker("-Q", "slow", "-P", pool, "-c", "1", env={"LOG_FORMAT": "json"}) as worker:
        sent = {bench.put("slow/limited", "not json at all").id for _ in range(60)}
        bench.wait_for_letters(60)
        wait_until(lambda: "more records like" in worker.output(), message="the others are counted")
        worker.terminate()
        output = worker.output()
    told = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    dead = [record for record in told if record["level"] == "ERROR" and "message_id" in record]
    assert {record["route"] for record in dead} == {"limited"}
    assert {record["message_id"].partition(":")[0] for record in dead} <= sent
    counted = sum(record["suppressed"] for record in told if "suppressed" in record)
    assert len(dead) + counted == 60
    assert counted > 0
