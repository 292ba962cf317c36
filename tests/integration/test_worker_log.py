"""A worker's log for machines."""

import json
from typing import Any

import pytest

from tests.servers import Redis
from tests.workers import Bench


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


def records(output: str) -> list[dict[str, Any]]:
    # The last line may not be whole yet.
    return [
        json.loads(line) for line in output.splitlines(keepends=True) if line.startswith("{") and line[-2:] == "}\n"
    ]


def deaths(output: str) -> list[dict[str, Any]]:
    return [record for record in records(output) if record["level"] == "ERROR" and "message_id" in record]


def counted(output: str) -> int:
    return sum(record.get("suppressed", 0) for record in records(output))


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_failures_are_objects_with_route_and_message_and_do_not_flood(bench: Bench, pool: str) -> None:
    with bench.worker("-Q", "slow", "-P", pool, "-c", "1", env={"LOG_FORMAT": "json"}) as worker:
        sent = {bench.put("slow/limited", "not json at all").id for _ in range(60)}
        bench.wait_for_letters(60)
        # At once: what is counted in the last second must be told as well.
        worker.terminate()
        output = worker.output()
    dead = deaths(output)
    assert {record["route"] for record in dead} == {"limited"}
    assert {record["message_id"].partition(":")[0] for record in dead} <= sent
    assert len(dead) + counted(output) == 60
    assert counted(output) > 0
