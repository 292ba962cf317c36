"""A Redis that may throw messages away: refused at start, and told of, loudly, when it becomes so."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from routemq_tasks import companions

from routemq import Router, eviction
from routemq.connections import connect_redis
from routemq.errors import ConfigurationError
from routemq.eviction import EvictionError, EvictionWatch
from routemq.settings import Settings
from tests.ingest import CONTROLLER, ingest_process, ingesting, numbered, payloads, settings_for, wait_for_payloads
from tests.processes import PATIENCE_S, wait_until
from tests.servers import Mosquitto, Redis, Stack
from tests.workers import Bench

CACHE = {"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}
LINE = "REDIS_URL=(a Redis with maxmemory-policy allkeys-lru) cannot be used"


def _watch(store: Redis, *, allowed: bool = False) -> EvictionWatch:
    settings = Settings(_env_file=None, redis_url=store.url)  # type: ignore[call-arg,arg-type]
    return EvictionWatch(connect_redis(settings), allowed=allowed)


def test_ingest_and_workers_refuse_a_cache_unless_the_loss_is_accepted(
    mosquitto_server: Mosquitto,
    own_store: Callable[..., Redis],
    key_prefix: str,
    topic_prefix: str,
    group_name: str,
    tmp_path: Path,
) -> None:
    store = own_store(options=CACHE)
    bench = Bench(store=store, key_prefix=key_prefix)
    stack = Stack(name="cache", broker=mosquitto_server, store=store)
    env = stack.environment(key_prefix=key_prefix, group=group_name)
    route = f"router.on('{topic_prefix}/a', '{CONTROLLER}', queue='a')"
    accepted = {"ROUTEMQ_ALLOW_EVICTION": "true"}

    with ingest_process(tmp_path, route, env, "--index", "0", ready=False) as ingest:
        assert ingest.wait() == 2
        assert ingest.output().count(LINE) == 1
        assert "Traceback" not in ingest.output()
    # A detached one has no terminal any more when it meets Redis.
    worker = bench.celery("worker", "--detach", "-Q", "slow", "-P", "threads")
    assert (worker.returncode, worker.stderr.count(LINE), "Traceback" in worker.stderr) == (1, 1, False)
    with ingest_process(tmp_path, route, env | accepted) as ingest:
        ingest.wait_for_output("MESSAGES MAY BE LOST")
    with bench.worker("-Q", "slow", "-P", "threads", env=accepted) as running:
        running.wait_for_output("MESSAGES MAY BE LOST")


def test_a_worker_refuses_a_cache_that_comes_later(own_store: Callable[..., Redis], key_prefix: str) -> None:
    store = own_store(options=CACHE)
    store.stop()
    with Bench(store=store, key_prefix=key_prefix).worker("-Q", "slow", "-P", "threads", ready=False) as worker:
        worker.wait_for_output("Cannot connect to redis://")
        store.start()
        assert worker.wait() == 1
        assert worker.output().count(LINE) == 1


def test_ingest_pauses_while_redis_may_throw_messages_away(
    mosquitto_server: Mosquitto,
    own_store: Callable[..., Redis],
    key_prefix: str,
    topic_prefix: str,
    group_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is acknowledged may be evicted without a word; what is not, the MQTT broker keeps."""
    monkeypatch.setattr(eviction, "_LOOK_S", 0.2)
    store = own_store()
    router = Router()
    router.on(f"{topic_prefix}/a", CONTROLLER, queue="a")
    stack = Stack(name="later", broker=mosquitto_server, store=store)
    with (
        store.client() as client,
        ingesting(settings_for(stack, key_prefix=key_prefix, group=group_name), router) as ingest,
    ):
        mosquitto_server.publish(f"{topic_prefix}/a", "1")
        wait_for_payloads(store, key_prefix, "a", 1)
        client.config_set("maxmemory-policy", "allkeys-random")
        published = 1

        def paused() -> bool:
            # Messages come all the time: also a loop that is never idle has to look.
            nonlocal published
            mosquitto_server.publish(f"{topic_prefix}/a", "more")
            published += 1
            return "allkeys-random" in str(ingest.health.pause)

        wait_until(paused, message="ingest has paused")
        before = len(payloads(store, key_prefix, "a"))
        for payload in numbered(5):
            mosquitto_server.publish(f"{topic_prefix}/a", payload)
        assert len(payloads(store, key_prefix, "a")) == before
        assert not ingest.ready
        client.config_set("maxmemory-policy", "noeviction")
        assert len(wait_for_payloads(store, key_prefix, "a", published + 5)) == published + 5


def test_a_worker_says_so_while_it_goes_on_and_makes_room(
    own_store: Callable[..., Redis], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eviction, "_LOOK_S", 0.0)
    monkeypatch.setattr(companions, "_LOOK_S", 0.05)
    store = own_store()
    thread = companions.EvictionThread(Settings(_env_file=None, redis_url=store.url))  # type: ignore[call-arg,arg-type]
    thread.start()
    with store.client() as client:
        for policy in ("allkeys-lru", "noeviction", "allkeys-lfu"):
            client.config_set("maxmemory-policy", policy)
            told = f"MESSAGES MAY BE LOST: redis may throw messages away: its maxmemory-policy is {policy}"
            if policy != "noeviction":
                wait_until(lambda told=told: told in caplog.text, message=f"{policy} is told")
    thread.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("policy", "word"),
    [
        ("noeviction", None),
        ("volatile-lru", "lets redis drop leases and locks, though no message"),
        ("allkeys-lfu", "MESSAGES MAY BE LOST"),
    ],
)
def test_what_a_policy_endangers_is_said_once(
    own_store: Callable[..., Redis], caplog: pytest.LogCaptureFixture, policy: str, word: str | None
) -> None:
    store = own_store()
    watch = _watch(store, allowed=True)
    with caplog.at_level(logging.INFO, "routemq.eviction"), store.client() as client:
        client.config_set("maxmemory-policy", policy)
        for _ in range(3):
            watch.start()
            watch.look()
    assert len(caplog.messages) == (word is not None)
    assert word is None or word in caplog.messages[0]


def test_a_policy_that_may_not_be_seen_is_no_obstacle(
    own_store: Callable[..., Redis], caplog: pytest.LogCaptureFixture
) -> None:
    store = own_store(options=CACHE)
    settings = Settings(_env_file=None, redis_url=f"redis://u:p@{store.host}:{store.port}/0")  # type: ignore[call-arg,arg-type]
    with store.client() as client:
        client.execute_command("ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "-info", "-config")
        EvictionWatch(connect_redis(settings), allowed=False).start()
        assert "does not show its maxmemory-policy" in caplog.text
        # By the other way, if that is allowed.
        client.execute_command("ACL", "SETUSER", "u", "+config|get")
        with pytest.raises(ConfigurationError, match="allkeys-lru"):
            EvictionWatch(connect_redis(settings), allowed=False).start()


def test_the_danger_is_looked_at_again_at_once_when_it_is_over(own_store: Callable[..., Redis]) -> None:
    store = own_store()
    watch = _watch(store)
    with store.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        for _ in range(2):
            with pytest.raises(EvictionError):
                watch.look()
        client.config_set("maxmemory-policy", "noeviction")
        watch.look()
