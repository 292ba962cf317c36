import pytest
from click.testing import CliRunner, Result
from paho.mqtt.packettypes import PacketTypes

from routemq.cli import main
from tests.mqtt_peer import MakePeer
from tests.processes import wait_until
from tests.servers import HOST, MqttBroker


@pytest.fixture(autouse=True)
def settings(mqtt_broker: MqttBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_BROKER", HOST)
    monkeypatch.setenv("MQTT_PORT", str(mqtt_broker.port))


def publish(*arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["publish", *arguments], input=given)


def test_what_is_published_arrives_with_all_that_is_said_of_it(peer: MakePeer, topic_prefix: str) -> None:
    listener = peer().connect()
    listener.subscribe(f"{topic_prefix}/#", qos=1)
    topic = f"{topic_prefix}/a"
    runs = [
        publish(topic, '{"x": 1}'),
        publish(topic, "--file", "-", "--qos", "0", given=b"\xff\0"),
        publish(
            topic, "", "--qos", "2", "--property", "a=b=c", "--property", "a=d", "--content-type", "text/plain",
            "--response-topic", "r/x", "--correlation-data", "7", "--expiry", "60",
        ),
    ]  # fmt: skip
    assert [run.exit_code for run in runs] == [0, 0, 0], [run.output for run in runs]
    wait_until(lambda: len(listener.messages) == 3, message="three messages have come")
    assert [message.payload for message in listener.messages] == [b'{"x": 1}', b"\xff\0", b""]
    told = listener.messages[2].properties
    assert told is not None
    assert told.packetType == PacketTypes.PUBLISH
    assert (told.UserProperty, told.ContentType, told.ResponseTopic, told.CorrelationData) == (
        [("a", "b=c"), ("a", "d")], "text/plain", "r/x", b"7",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["a/+", "x"], 1, "no wildcard"),
        (["a"], 2, "Give either a PAYLOAD"),
        (["a", "x", "--file", "-"], 2, "Give either a PAYLOAD"),
        (["a", "x", "--property", "k"], 2, "not NAME=VALUE"),
        (["a", "x", "--response-topic", "r/#"], 1, "no wildcard"),
        (["a", "x", "--content-type", "\udcff"], 1, "it cannot be published: UnicodeEncodeError"),
        (["a", "x", "--property", "k=" + "v" * 70_000], 1, "it cannot be published"),
    ],
)
def test_what_cannot_be_published_is_one_line(arguments: list[str], code: int, told: str) -> None:
    run = publish(*arguments)
    assert (run.exit_code, told in run.output) == (code, True), run.output


def test_a_broker_of_mqtt_3_1_1_takes_no_properties(monkeypatch: pytest.MonkeyPatch, topic_prefix: str) -> None:
    monkeypatch.setenv("MQTT_PROTOCOL", "3.1.1")
    assert publish(f"{topic_prefix}/a", "x").exit_code == 0
    assert "3.1.1 alone, which has no properties" in publish(f"{topic_prefix}/a", "x", "--property", "k=v").output
