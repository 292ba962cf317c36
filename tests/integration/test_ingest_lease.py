"""Non-shared routes are held by one process of the group, and by another soon after its death."""

import time
from pathlib import Path

from routemq_ingest.lease import LEASE_S, Lease

from routemq import Router
from routemq.connections import connect_redis
from routemq.queues import Keys
from tests.ingest import CONTROLLER, ingest_process, ingesting, payloads, settings_for, wait_for_payloads
from tests.mqtt_peer import Peer
from tests.processes import wait_until
from tests.servers import Redis, Stack


def test_a_lease_has_one_holder_who_may_release_only_his_own(redis_store: Redis, key_prefix: str) -> None:
    with redis_store.client() as client:
        first, second = (Lease(client, Keys(key_prefix), group="g", holder=name) for name in ("first", "second"))
        first.tend()
        second.tend()
        assert (first.held, second.held) == (True, False)
        assert 0 < client.pttl(Keys(key_prefix).lease("g")) <= LEASE_S * 1000
        second.release()
        assert client.get(Keys(key_prefix).lease("g")) == b"first"
        first.release()
        assert not first.held
        wait_until(lambda: second.tend() or second.held, message="the second has it")


def test_a_lease_that_cannot_be_renewed_is_given_up_before_it_ends(redis_server: Redis, key_prefix: str) -> None:
    with redis_server.client() as client:
        lease = Lease(client, Keys(key_prefix), group="g", holder="me")
        lease.tend()
        began = time.monotonic()
        wait_until(lambda: not lease.held, timeout_s=LEASE_S, message="it is given up")
        assert time.monotonic() - began < LEASE_S - 0.5
        assert client.exists(Keys(key_prefix).lease("g"))


def test_after_sigkill_of_the_holder_another_takes_over_within_seconds_and_nothing_is_lost_or_doubled(
    stack: Stack, tmp_path: Path, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    routes = f'router.on("{topic_prefix}/alerts/{{d}}", "{CONTROLLER}", queue="alerts")'
    environment = stack.environment(key_prefix=key_prefix, group=group_name)
    with (
        ingest_process(tmp_path, routes, environment, "--index", "0") as holder,
        ingest_process(tmp_path, routes, environment, "--index", "1") as other,
    ):
        assert "standing by for the non-shared" in other.output()
        peer = Peer(stack.broker.port).connect()
        for number in range(100):
            peer.publish(f"{topic_prefix}/alerts/a", str(number))
        wait_for_payloads(stack.store, key_prefix, "alerts", 100)
        holder.kill()
        killed_at = time.monotonic()
        for number in range(100, 200):
            peer.publish(f"{topic_prefix}/alerts/a", str(number))
        peer.close()
        wait_for_payloads(stack.store, key_prefix, "alerts", 200)
        assert time.monotonic() - killed_at < LEASE_S + 4
        other.wait_for_output("session=resumed")
    assert payloads(stack.store, key_prefix, "alerts") == [str(number).encode() for number in range(200)]


def test_a_clean_stop_hands_over_at_once(stack: Stack, key_prefix: str, topic_prefix: str, group_name: str) -> None:
    router = Router()
    router.on(f"{topic_prefix}/alerts/{{d}}", CONTROLLER, queue="alerts")
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name)
    with ingesting(settings, router, index=0) as holder, ingesting(settings, router, index=1):
        began = time.monotonic()
        holder.stop()
        client = connect_redis(settings)
        wait_until(
            lambda: client.get(Keys(key_prefix).lease(group_name)) == f"{settings.client_id_base}-1".encode(),
            message="the other has the lease",
        )
        client.close()
        assert time.monotonic() - began < 4
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
