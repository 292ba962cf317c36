"""What becomes of messages in real worker processes, in each pool."""

import itertools
import signal

import orjson
import pytest

from routemq.envelope import TaskMessage
from tests.processes import wait_until
from tests.servers import Redis
from tests.workers import POOLS, Bench

ODD_TOPICS = ["raw/with spaces", "raw/💡/ümlaut", "raw/'\"\\n", "raw/" + "/".join("x" * 1000)]
SECRET = "payload-that-no-log-shows"


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


@pytest.mark.parametrize("pool", [*POOLS, "gevent"])
def test_a_sync_controller_may_run_a_loop_of_its_own_after_an_async_one(bench: Bench, pool: str) -> None:
    topics = ["own-loop", "own-loop/in-async", "own-loop"]
    with bench.worker("-Q", "work.loop", "-P", pool, "-c", "8"):
        bench.put("loop/first")
        bench.wait_for_notes("loop", 1)
        # One after the other: of greenlets in one thread, asyncio lets one run a loop at a time.
        for number, topic in enumerate(topics, 1):
            bench.put(topic)
            for _ in range(4):
                bench.put("loop/meanwhile")
            bench.wait_for_notes("own-loop", number)
        bench.wait_for_notes("loop", 1 + 4 * len(topics))
    assert not bench.letters()
    assert [note["topic"] for note in bench.notes("own-loop")] == topics


@pytest.mark.parametrize("pool", [*POOLS, "gevent"])
def test_each_message_is_done_or_dead_with_its_reason(bench: Bench, pool: str) -> None:
    dead: dict[str, tuple[str, str]] = {}
    with bench.worker("-Q", "work", "-P", pool) as worker:
        for kind, reason, error in [
            ("value", "failed", "ValueError"),
            ("memory", "failed", "MemoryError"),
            ("exit", "failed", "SystemExit"),
            ("interrupt", "failed", "KeyboardInterrupt"),
            ("unpicklable", "failed", "UnpicklableError"),
            ("mute", "failed", "MuteError"),
            ("reject", "rejected", "Reject"),
            ("never", "failed", "LookupError"),
        ]:
            for topic in (f"act/{kind}", f"act-async/{kind}"):
                dead[bench.put(topic, orjson.dumps(SECRET)).id] = (reason, error)
        for topic, payload in [
            ("lines/abc/state", '{"temperature": 1}'),
            ("lines/1/state", ""),
            ("lines/1/state", "21.5 degrees " + SECRET),
            ("lines/1/state", orjson.dumps({"temperature": SECRET})),
            ("lines/1/state", b"\xff\xfe\x00" + SECRET.encode()),
            ("lines/1/state", b'{"temperature": "' + b"x" * 300_000 + b'"}'),
        ]:
            dead[bench.put(topic, payload).id] = ("invalid", "InvalidMessageError")
        fine = bench.put("act/fine")
        wait_until(
            lambda: fine.id in {note["id"] for note in bench.notes("act")}, message="a good message after these is run"
        )
        big = bench.put("raw/big", b"\x00" * 300_000)
        for topic in ODD_TOPICS:
            bench.put(topic, b"x")
        whole = bench.put("lines/7/state", '{"temperature": 21.5}')
        letters = bench.wait_for_letters(len(dead))
        bench.wait_for_notes("raw", 1 + len(ODD_TOPICS))
        bench.wait_for_notes("state", 1)
        wait_until(lambda: bench.held() == 0, message="no worker holds anything")

        assert {
            task_id: (letter.reason, letter.description["exception"].rpartition(".")[2])
            for task_id, letter in letters.items()
        } == dead
        assert bench.notes("state") == [
            {"what": "state", "line": 7, "temperature": 21.5, "id": whole.id, "topic": "lines/7/state"}
            | {key: bench.notes("state")[0][key] for key in ("at", "pid")}
        ]
        assert sorted(note["topic"] for note in bench.notes("raw")) == sorted([*ODD_TOPICS, "raw/big"])
        assert next(note["size"] for note in bench.notes("raw") if note["id"] == big.id) == 300_000
        attempts = {task_id: letter.description["attempts"] for task_id, letter in letters.items()}
        assert all(
            attempts[task_id] == (3 if reason == "failed" and error != "LookupError" else 1)
            for task_id, (reason, error) in dead.items()
        )
        assert worker.terminate() == 0
        output = worker.output()

    # The last acknowledgements, which count, are sent when the worker ends.
    totals = bench.totals()
    assert totals["act/{kind}"].done == 1
    assert totals["raw/{rest:path}"].done == 1 + len(ODD_TOPICS)
    assert sum(total.dead for total in totals.values()) == len(dead)
    assert sum(total.retried for total in totals.values()) == 2 * 6 * 2
    # One line for each failure, for people: no traceback, and nothing of a payload.
    assert "Traceback" not in output
    assert SECRET not in output
    for task_id, (reason, error) in dead.items():
        lines = [line for line in output.splitlines() if task_id in line]
        assert len(lines) == attempts[task_id]
        assert f"is dead, reason {reason}: " in lines[-1]
        assert error in lines[-1]


@pytest.mark.parametrize("pool", [*POOLS, "gevent"])
def test_async_controllers_of_a_process_share_one_loop(bench: Bench, pool: str) -> None:
    with bench.worker("-Q", "work", "-P", pool, "-c", "2"):
        for number in range(20):
            bench.put(f"loop/d{number}")
            bench.put(f"chain/d{number}")
        notes = bench.wait_for_notes("loop", 40)
        chains = bench.wait_for_notes("chain", 20)

    assert len({(note["pid"], note["loop"]) for note in notes}) == len({note["pid"] for note in notes})
    assert {note["thread"] for note in notes} == {"routemq-loop"}
    assert all(chain["seen"] == ["sync", "async"] for chain in chains)


def test_retries_follow_the_policy_and_the_dead_letter_tells_it_all(bench: Bench) -> None:
    with bench.worker("-Q", "work", "-P", "threads"):
        message = bench.put("unlucky", '{"n": 12345678901234567890, "empty": []}', generation=2)
        asked = bench.put("again")
        letter = bench.wait_for_letters(1)[message.id]
        runs = [note for note in bench.notes("unlucky") if note["id"] == message.id]
        first, second = bench.wait_for_notes("again", 2)

    assert [run["attempt"] for run in runs] == [1, 2, 3]
    waits = [later["at"] - earlier["at"] for earlier, later in itertools.pairwise(runs)]
    assert waits[0] >= 1.0
    assert waits[1] >= 2.0
    assert (first["id"], second["id"]) == (asked.id, asked.id)
    assert second["at"] - first["at"] > 0.2
    about = letter.description
    assert letter.id == f"{message.id}:2"
    assert (about["route"], about["queue"], about["topic"]) == ("unlucky", "work.unlucky", "unlucky")
    assert (letter.reason, about["exception"], about["message"]) == ("failed", "ValueError", "no such sensor")
    assert about["attempts"] == 3
    assert runs[0]["at"] <= about["first_at"] <= runs[1]["at"]
    assert about["worker"].startswith("celery@")
    raw = orjson.loads(letter.raw)
    assert raw["headers"]["id"] == message.id
    assert raw["headers"]["retries"] == 2
    assert [failure[1] for failure in raw["headers"]["routemq"]["failures"]] == ["ValueError: no such sensor"] * 2


def test_a_child_that_dies_is_a_strike_for_its_message_alone(bench: Bench) -> None:
    with bench.worker("-Q", "work,slow", "-c", "3", "-P", "prefork") as worker:
        neighbours = [bench.put("slow/sleep", "0.2").id for _ in range(10)]
        killers = {bench.put(f"act/{kind}").id for kind in ("kill", "leave")}
        bench.wait_for_notes("act", 1)
        good = bench.put("raw/after", b"x")
        (note,) = bench.wait_for_notes("raw", 1)
        assert note["id"] == good.id
        letters = bench.wait_for_letters(2)
        bench.wait_for_notes("slept", len(neighbours))

        assert set(letters) == killers
        assert {letter.reason for letter in letters.values()} == {"poison"}
        for killer in killers:
            times = [note["at"] for note in bench.notes("act") if note["id"] == killer]
            assert len(times) == 3
            assert times[1] - times[0] > 0.9
            assert times[2] - times[1] > 1.9
        assert sorted(note["id"] for note in bench.notes("started")) == sorted(neighbours)
        assert worker.is_alive


def test_what_has_ended_workers_before_may_end_no_more_children(bench: Bench) -> None:
    """One count: a lost worker leaves its strike where a child's death is looked up, and the other way round."""
    with bench.worker("-Q", "work", "-c", "2", "-P", "prefork"):
        killer = bench.put("act/kill", strikes=2)
        letter = bench.wait_for_letters(1)[killer.id]
        assert letter.reason == "poison"
        assert len(bench.notes("act")) == 1
        survivor = bench.put("unlucky", strikes=1)
        bench.wait_for_notes("unlucky", 1)
        with bench.store.client() as client:
            delayed = bench.keys.delayed("work.unlucky")
            (waiting,) = wait_until(lambda: client.zrange(delayed, 0, -1), message="its next run waits")
        assert (waiting[:18], TaskMessage.decode(waiting).id) == (b'{"routemq":[0,1],"', survivor.id)


def test_a_run_that_takes_too_long_is_dead_by_timeout(bench: Bench) -> None:
    with bench.worker("-Q", "slow,deaf", "-c", "2", "-P", "prefork"):
        # Known to be quick by then, they are handed out in bundles, each with a limit of its own.
        quick = [bench.put("slow/limited", "0.001") for _ in range(60)]
        bench.wait_for_notes("slept", 60)
        quick += [bench.put("slow/limited", "0.001") for _ in range(5)]
        soft = bench.put("slow/limited", "30")
        quick += [bench.put("slow/limited", "0.001") for _ in range(5)]
        on_loop = bench.put("slow/async-limited", "30")
        hard = bench.put("slow/deaf")
        letters = bench.wait_for_letters(3)
        notes = bench.wait_for_notes("slept", len(quick))

    assert {letter.reason for letter in letters.values()} == {"timeout"}
    assert set(letters) == {soft.id, on_loop.id, hard.id}
    assert sorted(note["id"] for note in notes) == sorted(message.id for message in quick)
    assert "longer than 0.5 s" in letters[soft.id].description["message"]
    assert "killed" in letters[hard.id].description["message"]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGQUIT], ids=["warm", "cold"])
def test_a_stopped_worker_gives_back_what_it_did_not_do(bench: Bench, pool: str, how: signal.Signals) -> None:
    with bench.worker("-Q", "slow", "-c", "2", "-P", pool) as worker:
        sent = {bench.put("slow/sleep", "0.7").id for _ in range(20)}
        bench.wait_for_notes("started", 2)
        worker.signal(how)
        worker.wait()

    slept = {note["id"] for note in bench.notes("slept")}
    assert 20 - len(slept) > 0
    with bench.store.client() as client:
        queued = {orjson.loads(item)["headers"]["id"] for item in client.lrange(bench.keys.queue("slow"), 0, -1)}
    assert slept | queued == sent
    assert bench.held() == 0
    assert not bench.letters()
    if how is signal.SIGTERM:
        assert not slept & queued
