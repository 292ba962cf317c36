"""Ingest on a broker whose share groups are of another kind than Mosquitto's."""

from pathlib import Path

from routemq import Router
from tests.ingest import CONTROLLER, ingest_process, ingesting, numbered, payloads, settings_for, wait_for_payloads
from tests.mqtt_peer import Peer
from tests.processes import wait_until
from tests.servers import Redis, Rumqttd, Stack

COUNT = 300


def publish_all(broker: Rumqttd, topic: str, texts: list[str]) -> None:
    peer = Peer(broker.port).connect()
    peer.publish_all(topic, texts)
    peer.close()


def test_two_processes_share_the_messages_and_each_comes_once(
    rumqttd: Rumqttd, redis_server: Redis, key_prefix: str, group_name: str, topic_prefix: str
) -> None:
    router = Router()
    router.on(f"{topic_prefix}/{{device}}/data", CONTROLLER, shared=True, queue="data")
    settings = settings_for(
        Stack(name="own", broker=rumqttd, store=redis_server), key_prefix=key_prefix, group=group_name
    )
    with ingesting(settings, router) as first, ingesting(settings, router, index=1) as second:
        publish_all(rumqttd, f"{topic_prefix}/d1/data", numbered(COUNT))
        found = wait_for_payloads(redis_server, key_prefix, "data", COUNT)
        assert sorted(found) == sorted(text.encode() for text in numbered(COUNT))
        wait_until(lambda: first.statistics.received + second.statistics.received == COUNT, message="all are counted")
        assert min(first.statistics.received, second.statistics.received) > 0


def test_what_came_while_no_process_was_there_waits_for_its_session(
    rumqttd: Rumqttd, redis_server: Redis, tmp_path: Path, key_prefix: str, group_name: str, topic_prefix: str
) -> None:
    stack = Stack(name="own", broker=rumqttd, store=redis_server)
    environment = stack.environment(key_prefix=key_prefix, group=group_name)
    routes = f'router.on("{topic_prefix}/{{device}}/data", "{CONTROLLER}", shared=True, queue="data")'
    with ingest_process(tmp_path, routes, environment):
        publish_all(rumqttd, f"{topic_prefix}/d1/data", numbered(10))
        wait_for_payloads(redis_server, key_prefix, "data", 10)
    publish_all(rumqttd, f"{topic_prefix}/d1/data", numbered(10, start=10))
    with ingest_process(tmp_path, routes, environment):
        wait_for_payloads(redis_server, key_prefix, "data", 20)
    assert sorted(payloads(redis_server, key_prefix, "data")) == sorted(text.encode() for text in numbered(20))
