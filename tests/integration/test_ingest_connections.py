"""How ingest gets in: TLS, passwords, old brokers, refused subscriptions, and what it says when it cannot."""

import json
import logging
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from routemq import Router
from routemq.errors import RouteError
from routemq.queues import Keys
from routemq.settings import Settings
from tests.ingest import (
    CONTROLLER,
    FakeBroker,
    OldBroker,
    ingest_process,
    ingesting,
    payloads,
    settings_for,
    wait_for_payloads,
)
from tests.processes import PATIENCE_S, wait_until
from tests.servers import HOST, MqttBroker, Redis, Stack, TlsFiles, free_port

MakeBroker = Callable[..., MqttBroker]


@pytest.fixture
def router(topic_prefix: str) -> Router:
    router = Router()
    router.on(f"{topic_prefix}/{{device}}/data", CONTROLLER, shared=True, queue="data")
    router.on(f"{topic_prefix}/alerts/{{device}}/now", CONTROLLER, queue="alerts")
    return router


def run(settings: Settings, router: Router) -> None:
    with ingesting(settings, router):
        pass


def stack_of(broker: object, store: Redis) -> Stack:
    return Stack(name="own", broker=broker, store=store)  # type: ignore[arg-type]


def test_tls_with_a_client_certificate_and_a_password(
    own_broker: MakeBroker, redis_server: Redis, tls_files: TlsFiles, router: Router, key_prefix: str,
    topic_prefix: str, group_name: str,
) -> None:  # fmt: skip
    broker = own_broker(tls=tls_files, require_certificate=True, users={"ingest": "secret"}, persistence=False)
    settings = settings_for(
        stack_of(broker, redis_server),
        key_prefix=key_prefix,
        group=group_name,
        mqtt_tls_enabled=True,
        mqtt_tls_ca_certs=tls_files.ca_certs,
        mqtt_tls_certfile=tls_files.client_cert,
        mqtt_tls_keyfile=tls_files.client_key,
        mqtt_username="ingest",
        mqtt_password="secret",
    )
    large = b"\x01" * 200_000  # several TLS records: what the TLS layer holds back never makes the socket readable
    with ingesting(settings, router):
        for payload in (large, b"small"):
            broker.publish(f"{topic_prefix}/d1/data", payload)
        assert wait_for_payloads(redis_server, key_prefix, "data", 2) == [large, b"small"]


@pytest.mark.parametrize("tls", [True, False], ids=["plain to a TLS port", "TLS to a plain port"])
def test_a_port_that_speaks_otherwise_is_told_as_such(
    own_broker: MakeBroker, redis_server: Redis, tls_files: TlsFiles, router: Router, key_prefix: str,
    group_name: str, caplog: pytest.LogCaptureFixture, tls: bool,
) -> None:  # fmt: skip
    broker = own_broker(tls=tls_files if tls else None, persistence=False)
    settings = settings_for(
        stack_of(broker, redis_server),
        key_prefix=key_prefix,
        group=group_name,
        mqtt_tls_enabled=not tls,
        mqtt_tls_ca_certs=tls_files.ca_certs,
    )
    said = "Then set MQTT_TLS_ENABLED=true" if tls else "speak TLS? MQTT_TLS_ENABLED is true"
    with ingesting(settings, router, ready=False):
        wait_until(lambda: said in caplog.text, message="it says what to look at")


def test_a_wrong_password_is_said_again_and_again_and_cured_without_a_restart(
    own_broker: MakeBroker, redis_server: Redis, tmp_path: Path, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    broker = own_broker(users={"ingest": "right"}, persistence=False)
    environment = stack_of(broker, redis_server).environment(key_prefix=key_prefix, group=group_name)
    environment |= {"MQTT_USERNAME": "ingest", "MQTT_PASSWORD": "later-right"}
    route = f'router.on("{topic_prefix}/{{d}}/data", "{CONTROLLER}", shared=True)'
    with ingest_process(tmp_path, route, environment, ready=False) as process:
        wait_until(lambda: process.output().count("MQTT_PASSWORD") >= 2, message="it is said twice")
        broker.stop()
        broker.users = {"ingest": "later-right"}  # type: ignore[attr-defined]
        broker.start()
        output = process.wait_for_output("ingest is ready")
        assert process.terminate() == 0
    assert "Traceback" not in output
    assert "later-right" not in output
    assert "the user is 'ingest'" in output


@pytest.mark.parametrize("refusal", [b"\x20\x03\0\x84\0", b"\x20\x02\0\x01"], ids=["mqtt-5-code", "mqtt-3-code"])
def test_a_broker_that_refuses_mqtt_5_is_spoken_to_by_3_1_1(
    stack: Stack, refusal: bytes, router: Router, key_prefix: str, topic_prefix: str, group_name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    with OldBroker(stack.broker.port, refusal=refusal) as old:
        settings = settings_for(stack, key_prefix=key_prefix, group=group_name, mqtt_port=old.port)
        with ingesting(settings, router):
            stack.broker.publish(f"{topic_prefix}/d1/data", "shared")
            stack.broker.publish(f"{topic_prefix}/alerts/d1/now", "alone")
            assert wait_for_payloads(stack.store, key_prefix, "data", 1) == [b"shared"]
            assert wait_for_payloads(stack.store, key_prefix, "alerts", 1) == [b"alone"]
        assert old.refused >= 1
        stack.broker.publish(f"{topic_prefix}/d1/data", "while away")
        with ingesting(settings, router):
            wait_for_payloads(stack.store, key_prefix, "data", 2)
    assert "trying MQTT 3.1.1" in caplog.text


def test_a_broker_that_hangs_up_on_mqtt_5_is_spoken_to_by_3_1_1(
    mosquitto_server: MqttBroker, redis_server: Redis, router: Router, key_prefix: str, topic_prefix: str,
    group_name: str,
) -> None:  # fmt: skip
    stack = stack_of(mosquitto_server, redis_server)
    with OldBroker(mosquitto_server.port, refusal=b"") as old:
        settings = settings_for(stack, key_prefix=key_prefix, group=group_name, mqtt_port=old.port)
        with ingesting(settings, router):
            mosquitto_server.publish(f"{topic_prefix}/d1/data", "shared")
            assert wait_for_payloads(redis_server, key_prefix, "data", 1) == [b"shared"]


def test_a_broker_that_keeps_silent_to_mqtt_5_is_spoken_to_by_3_1_1(
    mosquitto_server: MqttBroker, redis_server: Redis, router: Router, key_prefix: str, topic_prefix: str,
    group_name: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("routemq_ingest.session.CONNECT_TIMEOUT_S", 0.5)
    with OldBroker(mosquitto_server.port, refusal=b"", silent=True) as old:
        settings = settings_for(stack_of(old, redis_server), key_prefix=key_prefix, group=group_name)
        with ingesting(settings, router):
            mosquitto_server.publish(f"{topic_prefix}/d1/data", "shared")
            assert wait_for_payloads(redis_server, key_prefix, "data", 1) == [b"shared"]


@pytest.mark.parametrize("before", [True, False], ids=["after it worked", "from the start"])
def test_a_load_balancer_without_a_broker_is_no_reason_to_leave_mqtt_5(
    mosquitto_server: MqttBroker, redis_server: Redis, router: Router, key_prefix: str, group_name: str, before: bool
) -> None:
    with OldBroker(mosquitto_server.port, refusal=None) as balancer:
        settings = settings_for(stack_of(balancer, redis_server), key_prefix=key_prefix, group=group_name)
        balancer.deserted = not before
        with ingesting(settings, router, ready=before) as worker:
            balancer.deserted = True
            balancer.hang_up()
            # So often that both sessions of a process that had no answer yet try MQTT 3.1.1 by now.
            wait_until(lambda: balancer.refused >= 8, message="it hung up again and again")
            assert not worker.ready
            balancer.deserted = False
            balancer.versions.clear()
            wait_until(lambda: worker.ready, message="ingest is ready")
            assert balancer.versions.count(5) == 2, "each of the two sessions ended on MQTT 5"
            assert not before or set(balancer.versions) == {5}


def test_overlapping_routes_wait_for_the_broker_that_can_tell_them_apart(
    mosquitto_server: MqttBroker, redis_server: Redis, key_prefix: str, topic_prefix: str, group_name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    router = Router()
    router.on(f"{topic_prefix}/+/state", CONTROLLER, shared=True, queue="wide", name="wide")
    router.on(f"{topic_prefix}/door/state", CONTROLLER, shared=True, queue="narrow", name="narrow")
    with OldBroker(mosquitto_server.port, refusal=None) as broker:
        settings = settings_for(stack_of(broker, redis_server), key_prefix=key_prefix, group=group_name)
        with ingesting(settings, router) as worker:
            broker.refusal = b"\x20\x03\0\x84\0"
            broker.hang_up()
            wait_until(lambda: "overlaps with the route 'wide'" in caplog.text, message="it says why it waits")
            assert not worker.ready
            mosquitto_server.publish(f"{topic_prefix}/door/state", "meanwhile")
            broker.refusal = None
            wait_until(lambda: worker.ready, message="ingest is ready again")
            assert wait_for_payloads(redis_server, key_prefix, "narrow", 1) == [b"meanwhile"]
            assert wait_for_payloads(redis_server, key_prefix, "wide", 1) == [b"meanwhile"]


def test_overlapping_routes_are_refused_on_3_1_1(
    stack: Stack, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    router = Router()
    router.on(f"{topic_prefix}/+/state", CONTROLLER, shared=True, name="wide")
    router.on(f"{topic_prefix}/door/state", CONTROLLER, shared=True, name="narrow")
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name, mqtt_protocol="3.1.1")
    with pytest.raises(RouteError, match=r"'narrow'.*overlaps with the route 'wide'.*MQTT_PROTOCOL is 3\.1\.1"):
        run(settings, router)
    with OldBroker(stack.broker.port, refusal=b"\x20\x03\0\x84\0") as old:
        settings = settings_for(stack, key_prefix=key_prefix, group=group_name, mqtt_port=old.port)
        with pytest.raises(RouteError, match=r"'narrow'.*overlaps with the route 'wide'"):
            run(settings, router)


def test_an_old_broker_is_refused_when_mqtt_5_is_demanded(
    stack: Stack, router: Router, key_prefix: str, group_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with OldBroker(stack.broker.port, refusal=b"\x20\x03\0\x84\0") as old:
        settings = settings_for(stack, key_prefix=key_prefix, group=group_name, mqtt_port=old.port, mqtt_protocol="5")
        with ingesting(settings, router, ready=False):
            wait_until(lambda: "MQTT_PROTOCOL is 5: set it to auto" in caplog.text, message="it says what to do")


def test_a_refused_filter_and_a_lowered_qos_are_loud_and_the_other_routes_go_on(
    redis_server: Redis, key_prefix: str, topic_prefix: str, group_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()
    for name in ("secret", "lowered", "fine"):
        router.on(f"{topic_prefix}/{name}", CONTROLLER, shared=True, queue=name, name=name)
    with FakeBroker(codes={"secret": 0x87, "lowered": 0}) as broker:
        settings = settings_for(stack_of(broker, redis_server), key_prefix=key_prefix, group=group_name)
        with ingesting(settings, router, ready=False) as worker:
            wait_until(lambda: len(broker.identifiers) == 3, message="all are asked for")
            number = broker.identifiers[f"$share/{group_name}/{topic_prefix}/fine"]
            broker.publish(f"{topic_prefix}/fine".encode(), b"on it goes", mid=1, identifiers=(number,))
            assert wait_for_payloads(redis_server, key_prefix, "fine", 1) == [b"on it goes"]
            assert not worker.ready
            assert f"refuses $share/{group_name}/{topic_prefix}/secret" in str(worker.health.trouble)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert any(
        "SUBSCRIPTION REFUSED" in error and "route=secret" in error and "access list" in error for error in errors
    )
    assert any("QOS LOWERED" in error and "route=lowered asked=1 granted=0" in error for error in errors)
    assert len(errors) == 2


def test_a_removed_route_leaves_the_session_and_its_number_is_never_anothers(
    stack: Stack, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name)
    both, one = Router(), Router()
    both.on(f"{topic_prefix}/old", CONTROLLER, shared=True, queue="old")
    for router in (both, one):
        router.on(f"{topic_prefix}/new", CONTROLLER, shared=True, queue="new")
    with ingesting(settings, both):
        pass
    stack.broker.publish(f"{topic_prefix}/old", "in the session still")
    with ingesting(settings, one) as worker:
        wait_until(lambda: worker.statistics.received == 1, message="the old message is taken")
        key, new = Keys(key_prefix).subscriptions(worker.client_id), f"$share/{group_name}/{topic_prefix}/new".encode()
        with stack.store.client() as client:
            wait_until(lambda: client.smembers(key) == {new}, message="the old filter is left")
        for _ in range(3):
            stack.broker.publish(f"{topic_prefix}/old", "for nobody")
        stack.broker.publish(f"{topic_prefix}/new", "new")
        assert wait_for_payloads(stack.store, key_prefix, "new", 1) == [b"new"]
    assert worker.statistics.received == 2
    assert payloads(stack.store, key_prefix, "old") == []


def test_the_broker_is_away_at_first_and_goes_away_again(
    own_broker: MakeBroker, redis_server: Redis, router: Router, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    broker = own_broker()
    broker.stop()
    settings: Settings = settings_for(stack_of(broker, redis_server), key_prefix=key_prefix, group=group_name)
    with ingesting(settings, router, ready=False) as worker:
        broker.start()
        wait_until(lambda: worker.ready, message="ingest is ready")
        broker.publish(f"{topic_prefix}/d1/data", "1")
        wait_for_payloads(redis_server, key_prefix, "data", 1)
        broker.restart()
        # A message to a share group that Mosquitto 2.0 has only restored, and no member subscribed again, is lost.
        wait_until(lambda: not worker.ready, message="the connection is lost")
        wait_until(lambda: worker.ready, message="ingest is ready again")
        broker.publish(f"{topic_prefix}/d1/data", "2")
        assert wait_for_payloads(redis_server, key_prefix, "data", 2) == [b"1", b"2"]


def test_health_and_metrics_are_served_when_asked_for(
    stack: Stack, tmp_path: Path, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    port = free_port()
    environment = stack.environment(key_prefix=key_prefix, group=group_name) | {"INGEST_HEALTH_PORT": str(port)}
    route = f'router.on("{topic_prefix}/{{d}}", "{CONTROLLER}", queue="data")'
    with ingest_process(tmp_path, route, environment):
        stack.broker.publish(f"{topic_prefix}/d1", "x")

        def health() -> dict[str, Any]:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=PATIENCE_S) as answer:
                return dict(json.load(answer))

        now = wait_until(lambda: (told := health())["statistics"]["received"] and told, message="it is counted")
        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=PATIENCE_S) as answer:
            metrics = answer.read().decode()
    assert (now["alive"], now["ready"], now["pause"], now["holds"]) == (True, True, None, True)
    assert now["statistics"]["received"] == 1
    assert "routemq_ingest_received_total 1.0" in metrics
