"""Whatever an application's own code does, a failed run ends among the dead letters, or its message on its queue."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.applications import hostile
from tests.processes import wait_until
from tests.servers import Redis
from tests.workers import Bench

POOLS = ("prefork", "solo", "threads")

quitting_listeners = "tests.applications.quitting_listeners"
"""Not imported here, where others listen too."""
broken_log = "tests.applications.broken_log"


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix, application=hostile.__name__, router=hostile.router)


def _nothing_is_left(bench: Bench) -> bool:
    with bench.store.client() as client:
        left = (
            client.hlen(bench.keys.unacked)
            + client.llen(bench.keys.queue("act"))
            + client.zcard(bench.keys.delayed("act"))
        )
    return left == 0


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("transport", ["routemq", "stock"])
def test_every_failure_is_a_letter_and_none_is_done(bench: Bench, pool: str, transport: str) -> None:
    with bench.worker("-P", pool, "-c", "2", "-E", env={"ROUTEMQ_TRANSPORT": transport}) as worker:
        sent = {bench.put(f"act/{kind}", b"1").id: kind for kind in hostile.ACTS}
        for end in ("return", "exit", "fail"):
            bench.put(f"fork/{end}", b"1")
            bench.put(f"fork-async/{end}", b"1")
        good = bench.put("fine", b"1")
        letters = bench.wait_for_letters(len(sent))
        wait_until(lambda: _nothing_is_left(bench), message="nothing is left")
        wait_until(lambda: bench.totals().get("fine"), message="the good one is done")
        assert worker.terminate() == 0
        output = worker.output()
    assert {sent[name]: letter.reason for name, letter in letters.items()} == dict.fromkeys(hostile.ACTS, "failed")
    assert good.id not in letters
    for name, letter in letters.items():
        assert json.loads(letter.raw)["headers"]["id"] == name
    totals = bench.totals()
    assert (totals["fine"].done, totals["act/{kind}"].done, totals["act/{kind}"].dead) == (1, 0, len(sent))
    # What they have forked is none of the worker.
    assert [(totals[f"{name}/{{end}}"].done, totals[f"{name}/{{end}}"].retried) for name in ("fork", "fork-async")] == [
        (3, 0)
    ] * 2
    assert "Unrecoverable" not in output
    assert output.count("is dead, reason failed") == len(sent)


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_policy_that_fails_is_replaced_by_the_usual_one(bench: Bench, pool: str) -> None:
    with bench.worker("-P", pool) as worker:
        sent = [bench.put(topic, b"1").id for topic in ("policy", "policy/quitting")]
        letters = bench.wait_for_letters(2)
        assert worker.terminate() == 0
        for text in ("LookupError: 3", "SystemExit: 3"):
            assert f"its retry policy fails, the usual one is used: {text}" in worker.output()
    for name in sent:
        assert (letters[name].reason, letters[name].description["attempts"]) == ("failed", 3)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_who_listens_fails_no_message_and_ends_no_worker(bench: Bench, pool: str) -> None:
    with replace(bench, application=quitting_listeners).worker("-P", pool, "-c", "1") as worker:
        bench.put("fine", b"1")
        failed = bench.put("again", b"1").id
        letters = bench.wait_for_letters(1)
        wait_until(lambda: _nothing_is_left(bench), message="nothing is left")
        wait_until(lambda: bench.totals().get("fine"), message="the good one is done")
        assert worker.terminate() == 0
        for name in ("received", "prerun", "postrun", "success", "retry", "failure"):
            assert f"a listener to Celery's signal task_{name} failed" in worker.output()
    assert (letters[failed].reason, letters[failed].description["attempts"]) == ("failed", 2)
    totals = bench.totals()
    assert (totals["fine"].done, totals["fine"].retried) == (1, 0)
    assert (totals["again"].done, totals["again"].retried, totals["again"].dead) == (0, 1, 1)


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_the_fate_of_a_message_hangs_on_no_log(bench: Bench, pool: str) -> None:
    with replace(bench, application=broken_log).worker("-P", pool) as worker:
        bench.put("policy", b"1")
        failed = bench.put("act/surrogate", b"1").id
        assert list(bench.wait_for_letters(1)) == [failed]
        with bench.store.client() as client:
            wait_until(lambda: client.zcard(bench.keys.delayed("act")) == 1, message="the other one is run again")
        assert worker.terminate() == 0


def test_a_hook_that_returns_text_costs_the_payload_alone(bench: Bench) -> None:
    env = {"DLQ_REDACT_HOOK": "tests.applications.hostile:redact_to_text"}
    with bench.worker("-P", "threads", env=env) as worker:
        sent = bench.put("act/surrogate", b"a secret").id
        letter = bench.wait_for_letters(1)[sent]
        assert worker.is_alive
    assert letter.description["redacted"] == ["payload"]
    assert b"secret" not in letter.raw
    assert "surrogate" not in letter.description["message"]


@pytest.fixture
def no_graves(bench: Bench) -> Iterator[str]:
    """Another program's key lies where dead letters go."""
    with bench.store.client() as client:
        client.set(bench.keys.dead_entries, "another program's")
        yield bench.keys.dead_entries
        client.delete(bench.keys.dead_entries)


@pytest.mark.parametrize("pool", ["prefork", "solo"])
@pytest.mark.parametrize("transport", ["routemq", "stock"])
def test_what_cannot_be_recorded_stays_comes_back_ever_later_and_loudly(
    bench: Bench, no_graves: str, pool: str, transport: str
) -> None:
    with bench.worker("-P", pool, env={"ROUTEMQ_TRANSPORT": transport}) as worker:
        sent = bench.put("act/surrogate", b"1")
        unknown = json.loads(sent.encode())
        unknown["headers"] |= {"id": "\ud800", "task": None}
        unknown["properties"]["delivery_tag"] = "another"
        bench.put_raw("act", json.dumps(unknown).encode())
        text = f"message {sent.id} (act/{{kind}}, topic {sent.envelope.topic}) stays on its queue: the Redis key "
        text += f"{no_graves!r} is a string"
        started = time.monotonic()
        wait_until(lambda: worker.output().count(text) >= 3, message="it was tried three times")
        assert time.monotonic() - started >= 1.0
        assert worker.is_alive
        totals = bench.totals().get("act/{kind}")
        assert totals is None or totals.done == 0
        with bench.store.client() as client:
            client.delete(no_graves)
        letters = bench.wait_for_letters(2)
        wait_until(lambda: _nothing_is_left(bench), message="nothing is left")
    assert sorted(letter.reason for letter in letters.values()) == ["failed", "malformed"]
    assert letters[sent.id].reason == "failed"


def test_a_record_that_redis_does_not_take_is_made_smaller(own_store: Callable[..., Redis], key_prefix: str) -> None:
    """What is queued again has grown by the error, and Redis hangs up on it: nothing else is wrong with Redis."""
    store = own_store(options={"proto-max-bulk-len": "1mb"})
    bench = Bench(store=store, key_prefix=key_prefix, application=hostile.__name__, router=hostile.router)
    most = 1024 * 1024
    # So that it fits as it is, and not with the error of a run.
    around = len(bench.message("policy", b"x" * 8192).encode()) - 8192
    with bench.worker("-P", "threads") as worker:
        sent = bench.put("policy", b"x" * (most - around - 6))
        letter = bench.wait_for_letters(1)[sent.id]
        wait_until(lambda: _nothing_is_left(bench), message="nothing is left")
        assert "its outcome cannot be recorded so" in worker.output()
    assert letter.reason == "failed"
    assert len(sent.encode()) <= len(letter.raw) < most
