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

    def told() -> list[str]:
        return [record.getMessage().partition("; ")[0] for record in caplog.records]

    def report() -> ProcessReport:
        (found,) = read_processes(client, keys).reports
        return found

    # Killed a moment ago, in this very container, where another process has its pid now.
    killed = ProcessReport(kind="ingest", name="i-0", host="here", pid=os.getppid(), at=client.time()[0])
    client.hset(keys.processes, "ingest:i-0", orjson.dumps(asdict(killed)))
    with present(client, key_prefix, host="here", pid=1):
        wait_until(lambda: report().pid == 1, message="it is there")
        first_at = report().at
        wait_until(lambda: report().at > first_at, message="and has looked again")
        assert told() == []
        # In another container of one host name its pid is the same.
        with present(client, key_prefix, host="here", pid=1):
            words = "another process is called i-0 too: process 1 on here, this is process 1 on here"
            wait_until(lambda: told() == [words, words], message="both say so, once")
            wait_until(lambda: report().details.get("namesake"), message="and the doctor can see it")


@pytest.mark.parametrize("written", ['{"at": "yesterday"}', '{"pid": "none"}', '{"details": 3}', "[]", "\ufffd"])
def test_what_somebody_else_wrote_under_the_name_of_a_process_is_no_report_and_stops_none(
    client: redis.Redis, key_prefix: str, written: str
) -> None:
    keys = Keys(key_prefix)
    whole = orjson.dumps({"kind": "ingest", "name": "i-0"} | orjson.loads(written)) if "{" in written else written
    client.hset(keys.processes, "ingest:i-0", whole)
    assert read_processes(client, keys).reports == ()
    with present(client, key_prefix, host="here", pid=1):
        wait_until(lambda: read_processes(client, keys).reports, message="the process is reported")
