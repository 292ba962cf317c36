"""The tests' own servers: what a test does to them is what it says."""

import subprocess
from collections.abc import Callable

import pytest
import redis

from tests.processes import running, wait_until
from tests.servers import REPOSITORY, Mosquitto, MqttBroker, Redis, Stack, TlsFiles, find_program, free_port


def test_a_killed_store_with_append_only_file_has_everything_after_its_restart_on_the_same_port(
    own_store: Callable[..., Redis],
) -> None:
    store = own_store("redis", append_only=True, fsync="always")
    port = store.port
    store.client().set("kept", "yes")
    store.kill()
    with pytest.raises(redis.ConnectionError):
        store.client().ping()
    store.start()
    assert store.port == port
    assert store.client().get("kept") == b"yes"


def test_every_broker_carries_a_message_between_two_foreign_clients(mqtt_broker: MqttBroker, topic_prefix: str) -> None:
    topic = f"{topic_prefix}/hello"
    mqtt_broker.publish(topic, "retained", retain=True)
    command = [find_program("mosquitto_sub"), "-h", mqtt_broker.host, "-p", str(mqtt_broker.port), "-t", topic]
    received = subprocess.run([*command, "-C", "1"], capture_output=True, encoding="utf-8", check=True)
    assert received.stdout == "retained\n"


def test_a_broker_with_tls_and_users_refuses_plain_and_unknown_clients(
    own_broker: Callable[..., MqttBroker], tls_files: TlsFiles
) -> None:
    broker = own_broker("mosquitto", tls=tls_files, users={"worker": "secret"})
    broker.publish("hello", "there")
    stranger = Mosquitto(directory=broker.directory, port=broker.port, tls=tls_files, users={"worker": "wrong"})
    with pytest.raises(subprocess.CalledProcessError):
        stranger.publish("hello", "there")
    plain = Mosquitto(directory=broker.directory, port=broker.port)
    with pytest.raises(subprocess.CalledProcessError):
        plain.publish("hello", "there")


def test_shipped_mosquitto_limits_hold_a_burst_for_a_client_that_is_away(
    mosquitto_server: MqttBroker, topic_prefix: str
) -> None:
    """Mosquitto's own defaults keep 1,000 of these 3,000."""
    session = ["-h", mosquitto_server.host, "-p", str(mosquitto_server.port), "-i", topic_prefix, "-q", "1"]
    session += ["-c", "-V", "5", "-x", "300", "-t", f"{topic_prefix}/burst"]
    subprocess.run([find_program("mosquitto_sub"), *session, "-E"], check=True)
    burst = "".join(f"{number}\n" for number in range(3000))
    publisher = [find_program("mosquitto_pub"), "-h", mosquitto_server.host, "-p", str(mosquitto_server.port)]
    publisher += ["-q", "1", "-t", f"{topic_prefix}/burst", "-l"]
    subprocess.run(publisher, input=burst, encoding="utf-8", check=True)
    command = [find_program("mosquitto_sub"), *session, "-C", "3000"]
    received = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert received.stdout == burst


def test_both_stacks_serve(stack: Stack, key_prefix: str) -> None:
    stack.broker.publish(f"{key_prefix}hello", "there")
    assert stack.store.client().set(f"{key_prefix}hello", "there")
    assert stack.environment(key_prefix=key_prefix)["MQTT_PORT"] == str(stack.broker.port)


def test_a_running_process_is_gone_with_its_children_when_the_block_ends() -> None:
    with running(["sh", "-c", "setsid sleep 300 & echo started $!; wait"], cwd=REPOSITORY) as process:
        child = int(process.wait_for_output("started").split()[1])
        subprocess.run(["kill", "-0", str(child)], check=True)
    gone = ["kill", "-0", str(child)]
    wait_until(lambda: subprocess.run(gone, check=False, capture_output=True).returncode, message="the child is gone")


def test_waiting_in_vain_says_what_was_seen() -> None:
    with pytest.raises(AssertionError, match=r"until there are three; last saw \[\]"):
        wait_until(list, timeout_s=0.05, message="there are three")


def test_free_ports_are_outside_of_what_outgoing_connections_use() -> None:
    assert {port // 1000 for port in (free_port() for _ in range(50))} <= set(range(20, 32))
