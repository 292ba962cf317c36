"""Messages that a child of the prefork pool is handed together: each keeps a fate of its own."""

import signal

import pytest

from tests.applications import bundles as application
from tests.processes import wait_until
from tests.servers import Redis
from tests.workers import Bench


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    name = application.__name__
    return Bench(store=redis_server, key_prefix=key_prefix, application=name, router=application.router)


def put(bench: Bench, *kinds: str, takes_s: float = 0.0) -> list[str]:
    """Queue messages in this order, all at once; returns their ids."""
    messages = [bench.message(f"bundles/{kind}", str(takes_s)) for kind in kinds]
    with bench.store.client() as client:
        client.lpush(bench.keys.queue("bundles"), *(message.encode() for message in messages))
    return [message.id for message in messages]


def runs(bench: Bench, kind: str) -> dict[str, int]:
    with bench.store.client() as client:
        found: dict[bytes, bytes] = client.hgetall(f"{bench.key_prefix}runs:{kind}")
    return {message_id.decode(): int(count) for message_id, count in found.items()}


def done(bench: Bench) -> int:
    totals = bench.totals().get("bundles/{kind}")
    return 0 if totals is None else totals.done


def wait_until_done(bench: Bench, count: int) -> None:
    wait_until(lambda: done(bench) == count, message=f"{count} messages are done")


def test_children_that_die_together_have_each_its_own_guilty_message(bench: Bench) -> None:
    with bench.worker("-Q", "bundles", "-P", "prefork", "-c", "2"):
        put(bench, *["ok"] * 100)
        wait_until_done(bench, 100)
        put(bench, *[*["ok"] * 5, "leave", *["ok"] * 5, "kill", *["ok"] * 3] * 12)
        bench.wait_for_letters(24)
        wait_until_done(bench, 100 + 12 * 13)
    assert [set(runs(bench, kind).values()) for kind in ("ok", "leave", "kill")] == [{1}, {3}, {3}]


def test_a_child_that_dies_in_a_bundle_is_a_strike_for_the_guilty_alone(bench: Bench) -> None:
    with bench.worker("-Q", "bundles", "-P", "prefork", "-c", "2", "--max-tasks-per-child", "150") as worker:
        put(bench, *["ok"] * 100)
        wait_until_done(bench, 100)
        put(bench, *["ok"] * 40, "kill", *["ok"] * 5, "reject", *["ok"] * 40, "crash", "leave", *["ok"] * 115)
        wait_until_done(bench, 300)
        letters = bench.wait_for_letters(4)
        handed_out = bench.ask("stats")["pool"]["writes"]["total"]
        assert worker.is_alive
    assert set(runs(bench, "ok").values()) == {1}
    for kind in ("kill", "crash", "leave"):
        ((message_id, count),) = runs(bench, kind).items()
        assert (letters[message_id].reason, count) == ("poison", 3)
    ((rejected, count),) = runs(bench, "reject").items()
    assert (letters[rejected].reason, count) == ("rejected", 1)
    assert handed_out < 300


def test_nobody_waits_behind_a_slow_run_which_alone_is_shown_and_ended(bench: Bench) -> None:
    with bench.worker("-Q", "bundles", "-P", "prefork", "-c", "2", "-E"):
        put(bench, *["ok"] * 200)
        wait_until_done(bench, 200)
        (slow,) = put(bench, "slow", takes_s=600.0)
        quick = put(bench, *["ok"] * 200)
        wait_until_done(bench, 400)
        (shown,) = wait_until(lambda: bench.ask("active"), message="the slow one is shown")
        assert shown["id"] == slow
        put(bench, *["ok"] * 50)
        bench.ask("terminate", signal="SIGKILL", task_id=[slow])
        wait_until_done(bench, 450)
        wait_until(lambda: not bench.held(), message="nothing is in hand")
    assert set(quick) <= set(runs(bench, "ok"))
    assert set(runs(bench, "ok").values()) == {1}
    assert runs(bench, "slow") == {slow: 1}
    assert bench.letters() == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["warm", "cold"])
def test_a_worker_that_is_stopped_in_a_bundle_loses_and_blames_nothing(bench: Bench, number: int) -> None:
    with bench.worker("-Q", "bundles", "-P", "prefork", "-c", "2") as worker:
        put(bench, *["ok"] * 1000, takes_s=0.002)
        wait_until(lambda: done(bench) > 100, message="some are done")
        worker.signal(number)
        worker.wait()
    assert bench.held() == 0
    assert done(bench) + bench.waiting("bundles") == 1000
    if number == signal.SIGTERM:
        assert set(runs(bench, "ok").values()) == {1}
    with bench.worker("-Q", "bundles", "-P", "prefork", "-c", "2"):
        wait_until_done(bench, 1000)
    assert sorted(set(runs(bench, "ok").values())) in ([1], [1, 2])
    assert bench.letters() == {}
