"""A controller's `client.publish`: over MQTT, from the worker, confirmed before the message counts as done."""

import contextlib
from collections.abc import Callable

import orjson

from tests.mqtt_peer import Peer
from tests.processes import wait_until
from tests.servers import MqttBroker, Redis, Stack
from tests.workers import Bench


def test_answers_arrive_and_the_message_is_done(stack: Stack, key_prefix: str) -> None:
    bench = Bench(store=stack.store, key_prefix=key_prefix)
    env = stack.environment(key_prefix=key_prefix)
    peer = Peer(stack.broker.port).connect()
    with (
        contextlib.closing(peer),
        bench.worker("-Q", "answer", "-P", "prefork", "-c", "2", env=env) as worker,
    ):
        peer.subscribe(f"{key_prefix}/answers/+", qos=1)
        for number in range(20):
            bench.put(f"answer/d{number}", f'{{"n": {number}}}')
        bench.wait_for_notes("answered", 20)
        wait_until(lambda: len(peer.messages) == 20, message="each answer arrived once")
        assert worker.terminate() == 0

    assert {message.topic.rpartition("/")[2]: orjson.loads(message.payload) for message in peer.messages} == {
        f"d{number}": {"to": f"d{number}", "was": {"n": number}} for number in range(20)
    }
    assert bench.totals()["answer/{device}"].done == 20


def test_a_message_waits_for_the_broker_that_its_answer_needs(
    own_broker: Callable[..., MqttBroker], redis_server: Redis, key_prefix: str
) -> None:
    broker = own_broker("mosquitto", persistence=False)
    bench = Bench(store=redis_server, key_prefix=key_prefix)
    env = {"MQTT_BROKER": broker.host, "MQTT_PORT": str(broker.port)}
    broker.stop()
    with bench.worker("-Q", "answer", "-P", "threads", env=env) as worker:
        bench.put("answer/d1", "1")
        bench.wait_for_notes("answered", 1)
        worker.wait_for_output("no connection to the MQTT broker")
        assert bench.held() == 1
        broker.start()
        wait_until(lambda: bench.held() == 0, timeout_s=20, message="the answer was confirmed")
        assert not bench.letters()
