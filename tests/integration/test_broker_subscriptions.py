"""Who gets which message of an MQTT broker: filters, share groups, retained messages."""

import subprocess

import pytest

from tests.mqtt_peer import MakePeer, development_broker, numbers
from tests.processes import wait_until
from tests.servers import MqttBroker, find_program


def mosquitto_sub(broker: MqttBroker, *options: str) -> subprocess.Popen[str]:
    command = [find_program("mosquitto_sub"), "-h", broker.host, "-p", str(broker.port), "-W", "15", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")


@pytest.mark.parametrize("version", [4, 5])
def test_a_share_group_gets_each_message_once_and_an_ordinary_subscriber_all(
    peer: MakePeer, topic_prefix: str, version: int
) -> None:
    members = [peer(version=version).connect() for _ in range(3)]
    for member in members:
        assert member.subscribe(f"$share/workers/{topic_prefix}/+") == 1
    watcher = peer(version=version).connect()
    watcher.subscribe(f"{topic_prefix}/#")
    peer().connect().publish_all(f"{topic_prefix}/data", numbers(300))
    wait_until(lambda: sum(len(member.messages) for member in members) >= 300, message="all 300 are there")
    for member in members:
        member.round_trip()
    assert sorted((payload for member in members for payload in member.payloads), key=int) == numbers(300)
    assert all(len(member.messages) > 50 for member in members)
    assert {message.topic for member in members for message in member.messages} == {f"{topic_prefix}/data"}
    assert watcher.wait_for(300) == numbers(300)


def test_two_share_groups_get_a_message_each(peer: MakePeer, topic_prefix: str) -> None:
    ours, theirs = peer().connect(), peer().connect()
    ours.subscribe(f"$share/ours/{topic_prefix}/data")
    theirs.subscribe(f"$share/theirs/{topic_prefix}/data")
    peer().connect().publish_all(f"{topic_prefix}/data", numbers(10))
    assert ours.wait_for(10) == theirs.wait_for(10) == numbers(10)


def test_a_share_group_of_foreign_clients(mqtt_broker: MqttBroker, peer: MakePeer, topic_prefix: str) -> None:
    publisher = peer().connect()
    publisher.publish(f"{topic_prefix}/ready", "ready", retain=True)
    members = [
        mosquitto_sub(
            mqtt_broker, "-V", version, "-C", "6", "-t", f"$share/g/{topic_prefix}/x", "-t", f"{topic_prefix}/ready"
        )
        for version in ("5", "311")
    ]
    for member in members:
        assert member.stdout is not None
        assert member.stdout.readline() == "ready\n"
    publisher.publish_all(f"{topic_prefix}/x", numbers(10))
    received = [member.communicate()[0].split() for member in members]
    assert sorted(received[0] + received[1], key=int) == numbers(10)
    assert [member.returncode for member in members] == [0, 0]


def test_a_burst_to_one_member_that_takes_20_at_a_time_loses_nothing(
    mqtt_broker: MqttBroker, peer: MakePeer, topic_prefix: str
) -> None:
    member = peer(manual_ack=True).connect(ReceiveMaximum=20)
    member.subscribe(f"$share/workers/{topic_prefix}")
    command = [find_program("mosquitto_pub"), "-h", mqtt_broker.host, "-p", str(mqtt_broker.port)]
    lines = "\n".join(numbers(2000))
    subprocess.run([*command, "-q", "1", "-t", topic_prefix, "-l"], input=lines, encoding="utf-8", check=True)
    member.round_trip()
    assert member.payloads == numbers(20)
    acked = 0
    while acked < 2000:
        member.wait_for(acked + 1)
        for message in member.messages[acked:]:
            member.ack(message)
            acked += 1
    member.round_trip()
    assert member.payloads == numbers(2000)


@development_broker
def test_a_member_that_is_away_does_not_hold_up_the_group(peer: MakePeer, topic_prefix: str) -> None:
    """Mosquitto gives absent members their turn too: their share waits for them."""
    away = peer().connect(SessionExpiryInterval=300)
    away.subscribe(f"$share/workers/{topic_prefix}")
    here = peer().connect()
    here.subscribe(f"$share/workers/{topic_prefix}")
    away.cut()
    peer().connect().publish_all(topic_prefix, numbers(20))
    assert here.wait_for(20) == numbers(20)


def test_what_was_in_flight_to_a_member_waits_for_it_while_its_session_lives(peer: MakePeer, topic_prefix: str) -> None:
    first = peer(manual_ack=True).connect(SessionExpiryInterval=300)
    first.subscribe(f"$share/workers/{topic_prefix}")
    peer().connect().publish_all(topic_prefix, numbers(10))
    first.wait_for(10)
    second = peer().connect()
    second.subscribe(f"$share/workers/{topic_prefix}")
    first.cut()
    second.round_trip()
    assert second.payloads == []
    back = peer(client_id=first.client_id).connect(clean=False, SessionExpiryInterval=300)
    assert back.session_present
    assert back.wait_for(10) == numbers(10)
    assert all(message.dup for message in back.messages)


def test_each_overlapping_subscription_tells_its_identifier(peer: MakePeer, topic_prefix: str) -> None:
    one = peer().connect()
    one.subscribe(f"{topic_prefix}/+/data", identifier=7)
    one.subscribe(f"$share/workers/{topic_prefix}/#", identifier=268_435_455)
    one.subscribe(f"{topic_prefix}/other/data")
    peer().connect().publish(f"{topic_prefix}/d1/data", "x")
    one.wait_for(2)
    one.round_trip()
    found = [message.properties.SubscriptionIdentifier for message in one.messages]  # type: ignore[union-attr]
    assert sorted(found) == [[7], [268_435_455]]


def test_a_retained_message_comes_with_the_subscription(peer: MakePeer, topic_prefix: str) -> None:
    live = peer().connect()
    live.subscribe(f"{topic_prefix}/#")
    publisher = peer().connect()
    publisher.publish(f"{topic_prefix}/a", "old", retain=True)
    publisher.publish(f"{topic_prefix}/a", "new", retain=True)
    publisher.publish(f"{topic_prefix}/b", "gone", retain=True)
    publisher.publish(f"{topic_prefix}/b", "", retain=True)
    publisher.publish(f"{topic_prefix}/c", "passing")
    live.wait_for(5)
    assert not any(message.retain for message in live.messages)
    late = peer().connect()
    late.subscribe(f"{topic_prefix}/+")
    late.round_trip()
    assert [(message.topic, message.payload, message.retain) for message in late.messages] == [
        (f"{topic_prefix}/a", b"new", True)
    ]
    other = peer().connect()
    other.subscribe(f"{topic_prefix}/a", retainHandling=2)
    other.round_trip()
    assert other.messages == []


@development_broker
def test_a_retained_message_does_not_come_with_a_shared_subscription(peer: MakePeer, topic_prefix: str) -> None:
    """MQTT 5, 4.8.2; Mosquitto sends it to each member all the same."""
    peer().connect().publish(topic_prefix, "old", retain=True)
    member = peer().connect()
    member.subscribe(f"$share/workers/{topic_prefix}")
    member.round_trip()
    assert member.messages == []


def test_subscription_options_are_honoured(peer: MakePeer, topic_prefix: str) -> None:
    one = peer().connect()
    one.subscribe(f"{topic_prefix}/own", noLocal=True)
    one.subscribe(f"{topic_prefix}/kept", retainAsPublished=True, retainHandling=1)
    one.publish(f"{topic_prefix}/own", "from itself")
    one.publish(f"{topic_prefix}/kept", "retained", retain=True)
    one.subscribe(f"{topic_prefix}/kept", retainAsPublished=True, retainHandling=1)
    one.subscribe(f"{topic_prefix}/kept", retainAsPublished=True, retainHandling=0)
    one.wait_for(2)
    one.round_trip()
    assert [(message.payload, message.retain) for message in one.messages] == [(b"retained", True)] * 2


def test_qos_is_the_lower_of_both_sides(peer: MakePeer, topic_prefix: str) -> None:
    careful, careless = peer().connect(), peer().connect()
    assert careful.subscribe(topic_prefix, 1) == 1
    assert careless.subscribe(topic_prefix, 0) == 0
    publisher = peer().connect()
    publisher.publish(topic_prefix, "at most once", 0)
    publisher.publish(topic_prefix, "at least once", 1)
    careful.wait_for(2)
    careless.wait_for(2)
    assert {message.payload: message.qos for message in careful.messages} == {b"at most once": 0, b"at least once": 1}
    assert [message.qos for message in careless.messages] == [0, 0]


def test_a_wildcard_in_the_first_level_never_matches_a_topic_of_the_server(peer: MakePeer, topic_prefix: str) -> None:
    one = peer().connect()
    one.subscribe(f"+/{topic_prefix}")
    one.subscribe(f"$own/+/{topic_prefix}/#")
    publisher = peer().connect()
    publisher.publish(f"$own/{topic_prefix}", "hidden")
    publisher.publish(f"$own/x/{topic_prefix}", "asked for by name")
    publisher.publish(f"own/{topic_prefix}", "plain")
    one.wait_for(2)
    one.round_trip()
    assert sorted(one.payloads) == ["asked for by name", "plain"]


def test_after_unsubscribe_nothing_new_comes_but_what_was_queued_does(peer: MakePeer, topic_prefix: str) -> None:
    one = peer(manual_ack=True).connect(ReceiveMaximum=1)
    one.subscribe(f"$share/workers/{topic_prefix}")
    publisher = peer().connect()
    publisher.publish_all(topic_prefix, numbers(3))
    one.wait_for(1)
    one.unsubscribe(f"$share/workers/{topic_prefix}")
    publisher.publish(topic_prefix, "late")
    for number in range(3):
        one.wait_for(number + 1)
        one.ack(one.messages[number])
    one.round_trip()
    assert one.payloads == numbers(3)
