"""Messages that are run together, in real workers of each pool: each keeps its own fate."""

from collections import Counter
from typing import Any

import orjson
import pytest

from routemq.discovery import load_router
from routemq.envelope import TaskMessage
from tests.processes import wait_until
from tests.servers import Redis
from tests.workers import POOLS, Bench

APPLICATION = "tests.applications.batches"


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix, application=APPLICATION, router=load_router(APPLICATION))


def put(bench: Bench, kind: str, count: int, acts: dict[int, str]) -> list[str]:
    """Queue messages at once; return their ids, in their order."""

    def payload(number: int) -> bytes:
        act = acts.get(number, "store")
        return b"no order" if act == "invalid" else orjson.dumps({"number": number, "act": act})

    messages = [bench.message(f"{kind}/d{number}", payload(number)) for number in range(count)]
    with bench.store.client() as client:
        client.lpush(bench.keys.queue("batches"), *(message.encode() for message in messages))
    return [message.id for message in messages]


def stored(bench: Bench) -> Counter[str]:
    return Counter(each for note in bench.notes("stored") for each in note["ids"])


def wait_for_end(bench: Bench, done: int, letters: int) -> None:
    wait_until(
        lambda: len(bench.letters()) == letters and sum(stored(bench).values()) >= done and bench.held() == 0,
        message=f"{done} messages are done and {letters} dead",
    )


@pytest.mark.parametrize("pool", [*POOLS, "gevent"])
def test_one_poisonous_message_of_many_leaves_the_others_alone(bench: Bench, pool: str) -> None:
    acts = {7: "invalid", 37: "fail", 57: "retry", 67: "reject", 77: "raise"}
    sent = {kind: put(bench, kind, 100, acts) for kind in ("sync", "async")}
    with bench.worker("-Q", "batches", "-P", pool, "-c", "2", "-E") as worker:
        wait_for_end(bench, done=2 * 96, letters=2 * 4)
        expected: dict[str, Any] = {}
        for ids in sent.values():
            expected |= {ids[7]: "invalid", ids[37]: "failed", ids[67]: "rejected", ids[77]: "failed"}
        assert {name: letter.reason for name, letter in bench.letters().items()} == expected
        # Nothing twice: what fails together is stored by none.
        assert stored(bench) == Counter(each for ids in sent.values() for each in ids if each not in expected)
        attempts = {each.description["attempts"] for each in bench.letters().values() if each.reason == "failed"}
        assert attempts == {2}
        assert max(note["count"] for note in bench.notes("run")) > 1
        if pool == "prefork":
            killer = put(bench, "sync", 16, {5: "kill"})[5]
            wait_for_end(bench, done=2 * 96 + 15, letters=2 * 4 + 1)
            assert bench.letters()[killer].reason == "poison"
            # Its neighbours were never blamed: no run of theirs was counted.
            assert {each for note in bench.notes("stored") for each in note["attempts"]} == {1, 2}
            assert bench.totals().get("sync/{device_id}") is not None
        assert worker.terminate() == 0
    totals = bench.totals()
    for kind in ("sync", "async"):
        of_route = totals[f"{kind}/{{device_id}}"]
        more = 15 if pool == "prefork" and kind == "sync" else 0
        assert (of_route.done, of_route.dead) == (96 + more, 4 + bool(more))


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_a_batch_is_full_by_number_or_bytes_and_half_of_one_goes_back_in_order(bench: Bench, pool: str) -> None:
    with bench.worker("-Q", "full", "-P", pool, "-c", "1") as worker:
        for number in range(100):
            bench.put(f"full/{number}")
        bench.put("bytes/first", b"x" * 500)
        bench.put("bytes/large", b"x" * 5_000)
        bench.put("bytes/one", b"x" * 700)
        bench.put("bytes/two", b"x" * 700)
        bench.put("bytes/not-any-more", b"x" * 700)
        notes = bench.wait_for_notes("full", 4)
        runs = [note["devices"] for note in notes]
        assert sorted(map(len, runs)) == [1, 1, 2, 100]
        assert [str(number) for number in range(100)] in runs
        assert {tuple(run) for run in runs if len(run) < 100} == {("first",), ("large",), ("one", "two")}
        queued = ["not-any-more", *(f"of-half-{number}" for number in range(40))]
        for name in queued[1:]:
            bench.put(f"full/{name}")
        wait_until(lambda: bench.held() == len(queued), message="all that are gathered are in this worker's hands")
        assert worker.terminate() == 0
    with bench.store.client() as client:
        items = client.lrange(bench.keys.queue("full"), 0, -1)
    found = [TaskMessage.decode(item) for item in reversed(items)]
    assert sorted(each.envelope.topic.partition("/")[2] for each in found) == sorted(queued)
    names = [name for each in found if (name := each.envelope.topic.partition("/")[2]) in queued[1:]]
    # In front, in their order, and as if nobody had had them.
    assert names == queued[1:]
    assert all(item.startswith(b'{"body"') for item in items)
    assert len(bench.notes("full")) == 4


def test_what_was_gathered_over_a_connection_that_is_lost_comes_again_and_does_not_wait_for_its_time(
    bench: Bench,
) -> None:
    with bench.worker("-Q", "full", "-P", "prefork", "-c", "1"):
        for number in range(40):
            bench.put(f"full/{number}")
        wait_until(lambda: bench.held() == 40, message="all are gathered")
        with bench.store.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        for number in range(40, 100):
            bench.put(f"full/{number}")
        (note,) = bench.wait_for_notes("full", 1)
        assert sorted(map(int, note["devices"])) == list(range(100))
