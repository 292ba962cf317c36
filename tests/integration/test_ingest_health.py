"""Ready is what was answered lately, alive is what turns; and the end comes when it is asked for, whatever is slow."""

import json
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from routemq import Router
from tests.ingest import CONTROLLER, ingest_process, ingesting, settings_for, wait_for_payloads
from tests.processes import PATIENCE_S, many_open_files, wait_until
from tests.servers import HOST, SLOW_NAMES, MqttBroker, Redis, Stack, free_port
from tests.systemd import Systemd

MakeBroker = Callable[..., MqttBroker]
MakeStore = Callable[..., Redis]


@pytest.fixture
def routes(topic_prefix: str) -> str:
    return (
        f'router.on("{topic_prefix}/{{d}}/data", "{CONTROLLER}", shared=True, queue="data")\n'
        f'router.on("{topic_prefix}/alerts", "{CONTROLLER}", queue="alerts")'
    )


class Probe:
    """Asks an ingest process over HTTP."""

    def __init__(self) -> None:
        self.port = free_port()

    def ask(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return the status and what is told."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}{path}", timeout=PATIENCE_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://{HOST}:{self.port}/metrics", timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())

    def wait_ready(self) -> None:
        wait_until(lambda: self.ask("/readyz")[0] == 200, message="it is ready", ignoring=(OSError,))

    def wait_unready(self, word: str) -> None:
        """Wait until it says that it is not ready, and why; all the while it is alive."""

        def told() -> bool:
            assert self.ask("/healthz")[0] == self.ask("/health")[0] == 200
            status, found = self.ask("/readyz")
            return status == 503 and word in found["trouble"]

        wait_until(told, message=f"it is not ready and says {word!r}", ignoring=(urllib.error.URLError,))


def test_it_is_ready_only_while_both_servers_answer_also_without_traffic(
    own_broker: MakeBroker, own_store: MakeStore, routes: str, tmp_path: Path, key_prefix: str, group_name: str,
    systemd: Systemd,
) -> None:  # fmt: skip
    broker, store, probe = own_broker(), own_store(), Probe()
    environment = Stack(name="own", broker=broker, store=store).environment(key_prefix=key_prefix, group=group_name)
    environment |= {"INGEST_HEALTH_PORT": str(probe.port), **systemd.environment}
    with ingest_process(tmp_path, routes, environment) as process:
        probe.wait_ready()
        systemd.hear(b"READY=1\nSTATUS=serving")
        systemd.hear(b"WATCHDOG=1")
        wait_until(lambda: "routemq_broker_dropped_total 0.0" in probe.metrics(), message="the broker has told")
        store.pause()
        probe.wait_unready("redis")
        store.resume()
        probe.wait_ready()
        broker.pause()
        probe.wait_unready("mqtt broker")
        broker.resume()
        probe.wait_ready()
        store.kill()
        probe.wait_unready("redis is away")
        process.terminate()
        systemd.hear(b"STOPPING=1")


def test_a_loop_that_stands_still_is_not_ready_whatever_was_answered(
    redis_server: Redis, mosquitto_server: MqttBroker, key_prefix: str, topic_prefix: str, group_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    router = Router()
    router.on(f"{topic_prefix}/data", CONTROLLER, shared=True)
    stack, go_on = Stack(name="one", broker=mosquitto_server, store=redis_server), threading.Event()
    with ingesting(settings_for(stack, key_prefix=key_prefix, group=group_name), router) as worker:
        with monkeypatch.context() as patch:
            patch.setattr(worker, "_exchange", go_on.wait)
            wait_until(lambda: "stood still" in (worker.health.trouble or ""), message="it is seen")
            assert not worker.health.ready
            go_on.set()
        wait_until(lambda: worker.ready, message="it is ready again")


@pytest.mark.parametrize("slow", ["MQTT_BROKER", "REDIS_URL"])
def test_a_slow_name_server_holds_up_neither_health_nor_the_end(
    redis_server: Redis, mosquitto_server: MqttBroker, routes: str, tmp_path: Path, key_prefix: str, group_name: str,
    slow: str,
) -> None:  # fmt: skip
    stack, probe, names = Stack(name="one", broker=mosquitto_server, store=redis_server), Probe(), tmp_path / "names"
    names.mkdir()
    (names / "sitecustomize.py").write_text(SLOW_NAMES, encoding="utf-8")
    environment = stack.environment(key_prefix=key_prefix, group=group_name)
    environment |= {"INGEST_HEALTH_PORT": str(probe.port), "PYTHONPATH": str(names)}
    environment[slow] = environment[slow].replace(HOST, "slow.example")
    with ingest_process(tmp_path, routes, environment, ready=False) as process:
        wait_until(lambda: probe.ask("/healthz")[0] == 200, message="it is there", ignoring=(OSError,))
        probe.wait_unready("mqtt session" if slow == "MQTT_BROKER" else "redis has not answered")
        # Long before the name server says its last word.
        assert process.terminate() == 0
        assert "ingest has ended" in process.output()


@pytest.mark.parametrize("processes", [1, 2])
def test_many_signals_at_once_end_it_as_one_does(
    redis_server: Redis, mosquitto_server: MqttBroker, routes: str, tmp_path: Path, key_prefix: str, group_name: str,
    processes: int,
) -> None:  # fmt: skip
    stack = Stack(name="one", broker=mosquitto_server, store=redis_server)
    environment = stack.environment(key_prefix=key_prefix, group=group_name)
    with ingest_process(tmp_path, routes, environment, "--workers", str(processes), ready=False) as process:
        process.wait_for_output("ingest is ready" if processes == 1 else f"ingest is ready processes={processes}")
        for number in range(200):
            process.signal((signal.SIGTERM, signal.SIGINT)[number % 2])
        assert process.wait() == 0
        assert process.output().count("ingest has ended") == processes


def test_sockets_may_have_any_number(
    redis_server: Redis, mosquitto_server: MqttBroker, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    """Above 1023, `select` knows none."""
    router = Router()
    router.on(f"{topic_prefix}/data", CONTROLLER, shared=True, queue="data")
    stack = Stack(name="one", broker=mosquitto_server, store=redis_server)
    with many_open_files(), ingesting(settings_for(stack, key_prefix=key_prefix, group=group_name), router):
        mosquitto_server.publish(f"{topic_prefix}/data", "1")
        assert wait_for_payloads(redis_server, key_prefix, "data", 1) == [b"1"]


def test_a_log_that_cannot_be_written_stops_no_message(
    redis_server: Redis, mosquitto_server: MqttBroker, routes: str, tmp_path: Path, key_prefix: str,
    topic_prefix: str, group_name: str,
) -> None:  # fmt: skip
    stack, probe = Stack(name="one", broker=mosquitto_server, store=redis_server), Probe()
    environment = stack.environment(key_prefix=key_prefix, group=group_name)
    environment |= {"INGEST_HEALTH_PORT": str(probe.port), "ROUTEMQ_LOG_LEVEL": "DEBUG"}
    argv = ["sh", "-c", 'exec routemq ingest "$@" 2>/dev/full', "sh"]
    with ingest_process(tmp_path, routes, environment, program=argv, ready=False) as process:
        probe.wait_ready()
        mosquitto_server.publish(f"{topic_prefix}/d/data", "1")
        assert wait_for_payloads(redis_server, key_prefix, "data", 1) == [b"1"]
        assert process.terminate() == 0
