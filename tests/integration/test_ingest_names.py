"""Client ids that Redis gives: one process has each, and what a process leaves behind is taken over."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from routemq_ingest import name_lease
from routemq_ingest.name_lease import NameLease
from routemq_ingest.named_worker import NamedWorker

from routemq import Router
from routemq.queues import Keys
from routemq.settings import Settings
from tests.ingest import CONTROLLER, ingest_process, numbered, payloads, settings_for, wait_for_payloads
from tests.mqtt_peer import Peer
from tests.processes import PATIENCE_S, wait_until
from tests.servers import Mosquitto, Redis, Stack

QUICK = (
    "import routemq_ingest.name_lease as n; n.LEFT_S, n._RENEW_S = 1.0, 1.0; "
    "from routemq.cli import main; main(['ingest'])"
)


@pytest.fixture
def stack(mosquitto_server: Mosquitto, redis_server: Redis) -> Stack:
    return Stack(name="mosquitto", broker=mosquitto_server, store=redis_server)


@pytest.fixture
def lease(stack: Stack, key_prefix: str, group_name: str) -> Iterator[Callable[..., NameLease]]:
    """Make one who asks for a name, and has been answered."""
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name, mqtt_client_id="auto")
    made: list[NameLease] = []

    def make(adopts: str | None = None) -> NameLease:
        made.append(NameLease(settings, adopts=adopts))
        asked(made[-1])
        return made[-1]

    yield make
    for each in made:
        each.release(left_nothing=True)


def asked(lease: NameLease) -> NameLease:
    """Ask once more, and hear the answer."""
    lease._ask_at = 0.0
    lease.tend()
    lease._errands.finish(timeout_s=PATIENCE_S)
    return lease


@contextlib.contextmanager
def working(settings: Settings, router: Router) -> Iterator[NamedWorker]:
    """Run one in a thread; it has ended when the block does."""
    worker = NamedWorker(settings, router)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_who_asks_gets_a_number_of_his_own_and_one_that_was_left_behind_before_a_new_one(
    lease: Callable[..., NameLease], stack: Stack, key_prefix: str, group_name: str
) -> None:
    first, second, third = lease(), lease(), lease()
    assert [each.number for each in (first, second, third)] == ["0", "1", "2"]
    assert asked(second).client_id == f"{group_name}-auto-1"
    first.release(left_nothing=False, timeout_s=PATIENCE_S)
    third.release(left_nothing=True, timeout_s=PATIENCE_S)
    assert lease("2").number is None, "nothing is left of it"
    assert lease("1").number is None, "it has a holder"
    assert lease().number == "0"
    assert lease().number == "2"
    with stack.store.client() as client:
        assert client.hkeys(Keys(key_prefix).client_ids(group_name)) == [b"0", b"1", b"2"]


def test_whoever_was_silent_for_too_long_is_not_sure_of_his_number_and_gets_another_when_it_is_taken(
    lease: Callable[..., NameLease], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as briefly:
        briefly.setattr(name_lease, "LEASE_S", 1.5)
        frozen = lease()
    wait_until(lambda: not frozen.is_sure, message="it is not sure any more")
    wait_until(lambda: lease().number == "0", message="another has it")
    assert asked(frozen).number not in ("0", None)
    assert frozen.given == 2


def test_what_another_program_has_put_in_their_place_is_told_and_waited_for(
    lease: Callable[..., NameLease], stack: Stack, key_prefix: str, group_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = Keys(key_prefix).client_ids(group_name)
    with stack.store.client() as client:
        client.set(key, "x")
        waiting = asked(lease())
        assert key in (waiting.trouble or "")
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert not waiting.is_sure
        client.delete(key)
        for field, value in {"0": "no time", "1": "99999999999999999 gone", "x": "1 y", "-1": "0 z"}.items():
            client.hset(key, field, value)
        # What cannot be read has no holder; what would last for ever is cut to its length; the rest is not ours.
        assert asked(waiting).number == "0"
        ends, holder = client.hget(key, "1").split()
        assert int(ends) <= sum(part * factor for part, factor in zip(client.time(), (1000, 0.001), strict=True)) + 8000
        assert holder == b"gone"


def test_a_process_waits_for_a_redis_that_is_away_and_stops_at_once(
    stack: Stack, own_store: Callable[..., Redis], key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    store = own_store()
    router = Router()
    router.on(f"{topic_prefix}/{{d}}/data", CONTROLLER, shared=True, queue="data")
    away = Stack(name="away", broker=stack.broker, store=store)
    settings = settings_for(away, key_prefix=key_prefix, group=group_name, mqtt_client_id="Auto")
    store.stop()
    for comes_back in (False, True):
        with working(settings, router) as worker:
            wait_until(lambda worker=worker: "client-ids" in (worker.health.trouble or ""), message="it says why")
            assert worker.health.alive
            if comes_back:
                store.start()
                wait_until(lambda worker=worker: worker.health.ready, message="it is ready")


def test_whoever_is_not_sure_of_his_number_does_not_take_the_session_back_from_the_next_holder(
    stack: Stack, key_prefix: str, topic_prefix: str, group_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = Router()
    router.on(f"{topic_prefix}/{{d}}/data", CONTROLLER, shared=True, queue="data")
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name, mqtt_client_id="auto")
    with working(settings, router) as worker:
        wait_until(lambda: worker.health.ready, message="it is ready")
        assert worker._worker is not None
        session = worker._worker._own
        with monkeypatch.context() as cut_off:
            cut_off.setattr(name_lease, "_MARGIN_S", 1000.0)  # as if it had heard nothing of Redis for long
            cut_off.setattr(NameLease, "tend", lambda _: None)
            next_holder = Peer(stack.broker.port, client_id=session.client_id).connect()
            wait_until(lambda: session.connection is None, message="the broker has given the session away")
            due = session._reconnection._not_before
            wait_until(lambda: worker._worker._turned_at > due + 1, message="it could have connected again")
            assert next_holder.ended_by is None
            next_holder.close()
        wait_until(lambda: worker.health.ready, message="it goes on when it is sure again")


def test_what_processes_leave_behind_is_taken_over_and_one_that_was_frozen_fights_for_nothing(
    stack: Stack, tmp_path: Path, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    route = f'router.on("{topic_prefix}/{{d}}/data", "{CONTROLLER}", shared=True, queue="data")'
    environment = stack.environment(key_prefix=key_prefix, group=group_name)
    environment |= {"MQTT_CLIENT_ID": "auto", "MQTT_SHARE": "always"}
    program = [sys.executable, "-c", QUICK]
    keys = Keys(key_prefix)

    def held() -> Sequence[bytes]:
        with stack.store.client() as client:
            return sorted(client.hkeys(keys.client_ids(group_name)))

    with contextlib.ExitStack() as processes:
        stays, frozen, stopped, killed = (
            processes.enter_context(ingest_process(tmp_path, route, environment, program=program, ready=False))
            for _ in range(4)
        )
        for process in (stays, frozen, stopped, killed):
            process.wait_for_output("ingest is ready")
        assert held() == [b"0", b"1", b"2", b"3"], "each has its own"
        assert stopped.terminate() == 0
        killed.kill()
        frozen.signal(signal.SIGSTOP)
        peer = Peer(stack.broker.port).connect()
        peer.publish_all(f"{topic_prefix}/d/data", numbered(200))
        peer.close()
        wait_until(lambda: len(held()) == 1, message="all others are taken over")
        found = wait_for_payloads(stack.store, key_prefix, "data", 200)
        assert set(found) == {line.encode() for line in numbered(200)}
        frozen.signal(signal.SIGCONT)
        wait_until(lambda: frozen.output().count("ingest is ready") == 2, message="it works again")
        assert len(held()) == 2
        peer = Peer(stack.broker.port).connect()
        peer.publish_all(f"{topic_prefix}/d/data", numbered(100, start=200))
        peer.close()
        wait_until(
            lambda: set(payloads(stack.store, key_prefix, "data")) == {line.encode() for line in numbered(300)},
            message="they share what comes",
        )
        with stack.store.client() as client:
            sessions = {key.decode() for key in client.keys(keys.subscriptions("*"))}
        assert sessions == {keys.subscriptions(f"{group_name}-auto-{int(number)}") for number in held()}
        assert stays.output().count("mqtt connected") == 4, "its own session, and the three that were left behind"
        assert "MQTT SESSION LOST" not in frozen.output() + stays.output()
