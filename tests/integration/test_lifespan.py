"""What an application begins in a process of a worker: before any message, in each process, until its end."""

import json
import os
import urllib.error
import urllib.request

import pytest

from routemq.discovery import load_router
from tests.processes import PATIENCE_S, wait_until
from tests.servers import Redis, free_port
from tests.workers import Bench

APPLICATION = "tests.applications.lifespan"


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix, application=APPLICATION, router=load_router(APPLICATION))


def mend(bench: Bench) -> None:
    with bench.store.client() as client:
        client.set(f"{bench.key_prefix}service", 1)


def hooks(bench: Bench, what: str) -> list[tuple[int, str]]:
    return [(found["pid"], found["hook"]) for found in bench.notes(what)]


def trouble(port: int) -> str:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE_S)
    except urllib.error.HTTPError as exc:
        return str(json.loads(exc.read())["problem"])
    except OSError:
        return ""
    return ""


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_a_process_takes_messages_when_all_has_begun_and_closes_it_at_its_end(bench: Bench, pool: str) -> None:
    bench.put("lifespan/work", "0")
    port = free_port()
    options = ["-P", pool, "-c", "1", "--max-tasks-per-child", "2"]
    with bench.worker(*options, env={"WORKER_HEALTH_PORT": str(port)}, ready=False) as worker:
        missing = "ConnectionError: the service does not answer, at tests/applications/lifespan.py, line "
        wait_until(lambda: missing in trouble(port), message="its probe says what is missing, and where")
        assert (bench.waiting("lifespan.work"), bench.notes("worked")) == (1, [])
        # What was begun before the one that failed is closed again, the last first.
        first = hooks(bench, "begun")[0][0]
        assert hooks(bench, "closed")[:2] == [(first, "cache"), (first, "database")]

        assert missing in worker.output()

        mend(bench)
        for number in range(1, 5):
            bench.put("lifespan/work", str(number))
        worked = bench.wait_for_notes("worked", 5)
        assert worker.terminate() == 0

    assert bench.letters() == {}
    processes = {found["process"] for found in worked}
    # A child is recycled after two messages, and the next one begins all of it anew.
    assert len(processes) == (3 if pool == "prefork" else 1)
    for process in processes:
        assert [hook for pid, hook in hooks(bench, "begun") if pid == process][-3:] == ["database", "cache", "service"]
        assert [hook for pid, hook in hooks(bench, "closed") if pid == process][-3:] == ["service", "cache", "database"]
    assert (os.getpid() in processes, worker.pid in processes) == (False, pool != "prefork")


def test_a_worker_whose_children_hang_as_they_begin_ends_when_it_is_told_to(bench: Bench) -> None:
    with bench.store.client() as client:
        client.set(f"{bench.key_prefix}hangs", 1)
    with bench.worker("-c", "2", ready=False) as worker:
        bench.wait_for_notes("hangs", 2)
        assert worker.terminate() == 0
