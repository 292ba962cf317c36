"""Non-shared routes are held by one process of the group, and by another soon after its death."""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
from routemq_ingest import group_lease as lease_module
from routemq_ingest.errands import Errands
from routemq_ingest.group_lease import LEASE_S, GroupLease

from routemq import Router
from routemq.connections import connect_redis
from routemq.queues import Keys
from tests.ingest import CONTROLLER, ingest_process, ingesting, payloads, settings_for, wait_for_payloads
from tests.link import Link
from tests.mqtt_peer import Peer
from tests.processes import PATIENCE_S, wait_until
from tests.servers import HOST, Redis, Stack, free_port


class Holder:
    """A lease with a thread of its own that asks for it."""

    def __init__(self, client: "redis.Redis", key_prefix: str, name: str) -> None:
        self.errands = Errands(name, wake=lambda: None)
        self.lease = GroupLease(client, Keys(key_prefix), group="g", holder=name, errands=self.errands)

    def tend(self, *, served: bool = True) -> None:
        """Ask if it is time, and hear the answer."""
        self.lease.tend(served=served)
        self.errands.finish(timeout_s=PATIENCE_S)

    def release(self) -> None:
        self.lease.release()
        self.errands.finish(timeout_s=PATIENCE_S)


@pytest.fixture
def holder(redis_store: Redis, key_prefix: str) -> Iterator[Callable[[str], Holder]]:
    """Make one who asks for the lease."""
    made: list[Holder] = []
    with redis_store.client() as client:

        def make(name: str) -> Holder:
            made.append(Holder(client, key_prefix, name))
            return made[-1]

        yield make
        for each in made:
            each.errands.close()


def test_a_lease_has_one_holder_who_may_release_only_his_own(
    holder: Callable[[str], Holder], redis_store: Redis, key_prefix: str
) -> None:
    first, second = holder("first"), holder("second")
    first.tend()
    second.tend()
    assert (first.lease.held, second.lease.held) == (True, False)
    with redis_store.client() as client:
        assert 0 < client.pttl(Keys(key_prefix).lease("g")) <= LEASE_S * 1000
        second.release()
        assert client.get(Keys(key_prefix).lease("g")) == b"first"
    first.release()
    assert not first.lease.held
    wait_until(lambda: second.tend() or second.lease.held, message="the second has it")


def test_a_lease_that_cannot_be_renewed_is_given_up_before_it_ends(
    holder: Callable[[str], Holder], redis_store: Redis, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(lease_module, "time", SimpleNamespace(monotonic=lambda: now))
    mine = holder("me")
    mine.tend()
    now += LEASE_S - 1.1
    assert mine.lease.held
    now += 0.2
    assert not mine.lease.held
    with redis_store.client() as client:
        assert client.exists(Keys(key_prefix).lease("g"))


def test_a_holder_that_no_broker_serves_leaves_the_lease_to_another_and_takes_it_back_if_nobody_wants_it(
    holder: Callable[[str], Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "UNSERVED_S", 0.5)
    monkeypatch.setattr(lease_module, "_STEP_BACK_S", 1.0)
    first, second = holder("first"), holder("second")
    first.tend(served=False)
    second.tend()
    assert first.lease.held
    wait_until(lambda: first.tend(served=False) or not first.lease.held, message="it is given up")
    wait_until(lambda: first.tend(served=False) or second.tend() or second.lease.held, message="the second has it")
    assert not first.lease.held
    second.release()
    wait_until(lambda: first.tend(served=False) or first.lease.held, message="the first has it again")


def test_a_lease_that_would_outlast_its_holder_by_far_is_cut_to_its_length(
    holder: Callable[[str], Holder], redis_store: Redis, key_prefix: str
) -> None:
    """As after a jump of Redis' clock back."""
    waiting, key = holder("second"), Keys(key_prefix).lease("g")
    with redis_store.client() as client:
        client.set(key, "first", ex=86_400)
        waiting.tend()
        assert 0 < client.pttl(key) <= LEASE_S * 1000
        assert not waiting.lease.held


def test_a_holder_whose_name_is_no_text_is_a_holder(
    holder: Callable[[str], Holder], redis_store: Redis, key_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    mine, key = holder("me"), Keys(key_prefix).lease("g")
    mine.tend()
    with redis_store.client() as client:
        client.set(key, b"\xff", px=60_000)
        mine.lease._ask_at = 0.0
        mine.tend()
        assert not mine.lease.held
        assert "another process holds" in caplog.text


@pytest.mark.parametrize("command", ["RPUSH", "SET"])
def test_a_key_of_another_in_the_place_of_the_lease_is_told(
    holder: Callable[[str], Holder], redis_store: Redis, key_prefix: str, command: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    mine, key = holder("me"), Keys(key_prefix).lease("g")
    with redis_store.client() as client:
        client.execute_command(command, key, "x")
        for _ in range(2):
            mine.lease._ask_at = 0.0
            mine.tend()
        assert key in (mine.lease.trouble or "")
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert key in caplog.text
        client.delete(key)
    wait_until(lambda: mine.tend() or mine.lease.held, message="it holds the lease")
    assert mine.lease.trouble is None


def test_after_sigkill_of_the_holder_another_takes_over_and_nothing_is_lost_or_doubled(
    stack: Stack, tmp_path: Path, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    routes = f'router.on("{topic_prefix}/alerts/{{d}}", "{CONTROLLER}", queue="alerts")'
    environment, port = stack.environment(key_prefix=key_prefix, group=group_name), free_port()
    asked = environment | {"INGEST_HEALTH_PORT": str(port)}

    def received() -> int:
        with urllib.request.urlopen(f"http://{HOST}:{port}/healthz", timeout=PATIENCE_S) as answer:
            return int(json.load(answer)["statistics"]["received"])

    with (
        ingest_process(tmp_path, routes, asked, "--index", "0") as holder,
        ingest_process(tmp_path, routes, environment, "--index", "1") as other,
    ):
        assert "standing by for the non-shared" in other.output()
        peer = Peer(stack.broker.port).connect()
        for number in range(100):
            peer.publish(f"{topic_prefix}/alerts/a", str(number))
        # What is in Redis and not yet acknowledged would come twice.
        wait_until(lambda: received() == 100, message="all is acknowledged")
        holder.kill()
        for number in range(100, 200):
            peer.publish(f"{topic_prefix}/alerts/a", str(number))
        peer.close()
        wait_for_payloads(stack.store, key_prefix, "alerts", 200)
        other.wait_for_output("session=resumed")
    assert payloads(stack.store, key_prefix, "alerts") == [str(number).encode() for number in range(200)]


def test_a_holder_that_loses_the_broker_leaves_the_routes_to_one_that_has_it(
    stack: Stack, key_prefix: str, topic_prefix: str, group_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "UNSERVED_S", 2.0)
    router = Router()
    router.on(f"{topic_prefix}/alerts/{{d}}", CONTROLLER, queue="alerts")
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name)
    with Link(stack.broker.port) as link:
        by_link = settings_for(stack, key_prefix=key_prefix, group=group_name, mqtt_port=link.port)
        with ingesting(by_link, router, index=0) as holder, ingesting(settings, router, index=1) as other:
            assert holder.health.holds
            link.cut()
            stack.broker.publish(f"{topic_prefix}/alerts/a", "meanwhile")
            wait_until(lambda: other.health.holds, message="the other one holds the routes")
            assert wait_for_payloads(stack.store, key_prefix, "alerts", 1) == [b"meanwhile"]
            assert not holder.health.holds


def test_a_clean_stop_hands_over_at_once(
    stack: Stack, key_prefix: str, topic_prefix: str, group_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody waits for its end.
    monkeypatch.setattr(lease_module, "LEASE_S", 1000.0)
    router = Router()
    router.on(f"{topic_prefix}/alerts/{{d}}", CONTROLLER, queue="alerts")
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name)
    with ingesting(settings, router, index=0) as holder, ingesting(settings, router, index=1):
        holder.stop()
        client = connect_redis(settings)
        wait_until(
            lambda: client.get(Keys(key_prefix).lease(group_name)) == f"{settings.client_id_base}-1".encode(),
            message="the other has the lease",
        )
        client.close()
        stack.broker.publish(f"{topic_prefix}/alerts/a", "after")
        assert wait_for_payloads(stack.store, key_prefix, "alerts", 1) == [b"after"]


def test_two_processes_share_the_shared_routes_and_one_has_the_others(
    stack: Stack, tmp_path: Path, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    routes = (
        f'router.on("{topic_prefix}/{{d}}/data", "{CONTROLLER}", shared=True, queue="data")\n'
        f'router.on("{topic_prefix}/alerts", "{CONTROLLER}", queue="alerts")'
    )
    environment = stack.environment(key_prefix=key_prefix, group=group_name)
    with ingest_process(tmp_path, routes, environment, "--workers", "2", ready=False) as process:
        process.wait_for_output("ingest is ready processes=2")
        peer = Peer(stack.broker.port).connect()
        peer.publish_all(f"{topic_prefix}/d/data", [str(number) for number in range(500)])
        peer.publish_all(f"{topic_prefix}/alerts", [str(number) for number in range(100)])
        peer.close()
        data = wait_for_payloads(stack.store, key_prefix, "data", 500)
        alerts = wait_for_payloads(stack.store, key_prefix, "alerts", 100)
        assert process.terminate() == 0
        output = process.output()
    assert sorted(data, key=int) == [str(number).encode() for number in range(500)]
    assert alerts == [str(number).encode() for number in range(100)]
    assert output.count("ingest has ended") == 2
    assert "Traceback" not in output
