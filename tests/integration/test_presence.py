"""What processes tell each other by their reports."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

import orjson
import pytest
import redis

from routemq.metrics.presence import Presence, ProcessReport, read_processes
from routemq.queues import Keys
from tests.processes import wait_until


@contextlib.contextmanager
def present(client: redis.Redis, key_prefix: str, *, host: str, pid: int) -> Iterator[None]:
    report = partial(ProcessReport, kind="ingest", name="i-0", host=host, pid=pid)
    presence = Presence(client, Keys(key_prefix), report)
    presence.start()
    yield
    presence.stop()


def test_two_processes_of_one_name_are_told_at_once_and_one_after_the_other_is_not(
    client: redis.Redis, key_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys = Keys(key_prefix)

    def told() -> set[str]:
        return {record.getMessage().partition("; ")[0] for record in caplog.records}

    def namesake() -> str:
        return str(read_processes(client, keys).reports[0].details.get("namesake"))

    # Killed a moment ago, in a container of its own.
    killed = ProcessReport(kind="ingest", name="i-0", host="there", pid=7, at=client.time()[0])
    client.hset(keys.processes, "ingest:i-0", orjson.dumps(asdict(killed)))
    with present(client, key_prefix, host="here", pid=os.getpid()):
        wait_until(lambda: read_processes(client, keys).reports[0].host == "here", message="it is there")
        assert told() == set()
        # On this host it can be seen that the other one lives.
        with present(client, key_prefix, host="here", pid=os.getppid()):
            second = (f"another process is called i-0 too: process {os.getpid()} on here, "
                      f"this is process {os.getppid()} on here")  # fmt: skip
            wait_until(lambda: second in told(), message="the second says so")
            wait_until(lambda: len(told()) == 2, message="so does the first")
            wait_until(lambda: namesake().endswith(" on here"), message="and the doctor can see it")
