"""`routemq simulate` against real brokers."""

import json
import signal
import subprocess
from pathlib import Path

from tests.mqtt_peer import Peer
from tests.processes import clean_environment, running
from tests.servers import MqttBroker, free_port


def simulate(broker: MqttBroker, *options: str) -> subprocess.CompletedProcess[str]:
    env = clean_environment({"MQTT_BROKER": broker.host, "MQTT_PORT": str(broker.port)})
    return subprocess.run(
        ["routemq", "simulate", *options], env=env, capture_output=True, encoding="utf-8", check=False
    )


def test_every_message_reaches_the_broker_and_is_confirmed(mqtt_broker: MqttBroker) -> None:
    peer = Peer(mqtt_broker.port).connect()
    peer.subscribe("sensors/#")
    run = simulate(mqtt_broker, "--count", "1500", "--rate", "2000", "--broken", "0", "--json")
    last = json.loads(run.stdout.splitlines()[-1])
    assert (last["published"], last["confirmed"], last["final"]) == (1500, 1500, True)
    # Not faster than it was asked to; how much slower is the machine's affair.
    assert last["elapsed_s"] > 1500 / 2000 * 0.9
    assert len(peer.wait_for(600)) < 1500
    peer.close()


def test_rate_is_kept(embedded_broker: MqttBroker) -> None:
    run = simulate(embedded_broker, "--for", "1.5", "--rate", "100", "--json")
    assert 75 <= json.loads(run.stdout.splitlines()[-1])["published"] <= 155


def test_ctrl_c_ends_it_after_the_last_confirmation(embedded_broker: MqttBroker, tmp_path: Path) -> None:
    env = {"MQTT_BROKER": embedded_broker.host, "MQTT_PORT": str(embedded_broker.port)}
    with running(["routemq", "simulate", "--rate", "200", "--json"], cwd=tmp_path, env=env) as process:
        process.wait_for_output('"final":false')
        process.signal(signal.SIGINT)
        assert process.wait() == 0
        last = json.loads(process.output().splitlines()[-1])
    assert last["final"]
    assert last["published"] == last["confirmed"] > 0


def test_absent_broker_is_named(tmp_path: Path) -> None:
    env = clean_environment({"MQTT_BROKER": "127.0.0.1", "MQTT_PORT": str(free_port())})
    run = subprocess.run(
        ["routemq", "simulate"], cwd=tmp_path, env=env, capture_output=True, encoding="utf-8", check=False
    )
    assert run.returncode == 1
    assert f"127.0.0.1:{env['MQTT_PORT']}" in run.stderr
    assert "Traceback" not in run.stderr
