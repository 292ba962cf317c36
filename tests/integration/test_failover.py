"""A primary that was demoted keeps its connections: everything finds the new one, loses nothing, and says so."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from routemq.dead_letters import DeadLetters
from routemq.discovery import load_router
from routemq.queues import Keys
from routemq.settings import Settings
from tests.failover import Pair
from tests.fault_load import TOPIC, Load
from tests.faults import REASONS, read_runs
from tests.ingest import ingesting
from tests.processes import running, wait_until
from tests.servers import HOST, REPOSITORY, MqttBroker, Redis

APPLICATION = "tests.applications.faults"
KINDS = {"succeed": 90, "fail_once": 5, "fail_always": 2, "reject": 2, "expect_int": 1}


@pytest.mark.parametrize(("pool", "transport"), [("prefork", "routemq"), ("threads", "routemq"), ("threads", "stock")])
def test_a_failover_loses_nothing_and_is_told(
    own_broker: Callable[..., MqttBroker], own_store: Callable[..., Redis], tmp_path: Path, pool: str, transport: str
) -> None:
    broker, pair = own_broker(), Pair.of(own_store("redis"), own_store("redis"))
    runs = tmp_path / "runs"
    runs.mkdir()
    env = {
        "MQTT_BROKER": HOST,
        "MQTT_PORT": str(broker.port),
        "REDIS_URL": pair.url,
        "ROUTEMQ_ROUTERS": APPLICATION,
        "ROUTEMQ_TRANSPORT": transport,
        "FAULTS_FOLDER": str(runs),
        "FAULTS_TOPIC": TOPIC,
        "PYTHONPATH": str(REPOSITORY),
    }
    load = Load(broker.port, rate=100, chance=random.Random(1), kinds=KINDS)
    worker = ["celery", "-A", "routemq", "worker", "-Q", "faults", "-c", "2", "-P", pool]
    settings = Settings(_env_file=None, mqtt_broker=HOST, mqtt_port=broker.port, redis_url=pair.url)
    with (
        ingesting(settings, load_router(APPLICATION)) as ingest,
        running(worker, cwd=REPOSITORY, env=env, fork=True) as worker_process,
    ):
        worker_process.wait_for_output(" ready.")
        with load.publishing():
            wait_until(lambda: len(read_runs(runs)) > 50, message="messages are run")
            pair.demote()
            wait_until(lambda: "is a replica" in str(ingest.health.pause), message="the health says it")
            worker_process.wait_for_output("redis is a replica")
            pair.lead_to_primary()
            wait_until(lambda: ingest.health.pause is None, message="ingest goes on")
            before = len(read_runs(runs))
            wait_until(lambda: len(read_runs(runs)) > before + 50, message="the worker goes on")
        if transport == "stock":
            # What was in hand is not Celery's own transport's to bring back before its visibility timeout.
            return
        with pair.primary.client() as client:
            dead = DeadLetters(client, Keys())

            def left() -> set[int]:
                letters = {int(str(letter.topic).rpartition("/")[2]): letter.reason for letter in dead.letters()}
                assert {load.kinds[number]: reason for number, reason in letters.items()}.items() <= REASONS.items()
                return load.acknowledged - set(read_runs(runs)) - set(letters)

            wait_until(lambda: not left(), message="every message has ended")
        assert worker_process.is_alive
        assert worker_process.terminate() == 0
