"""What an MQTT broker keeps for a client that is away, and says for one that is lost."""

import time

import pytest

from tests.mqtt_peer import MakePeer, development_broker, numbers
from tests.processes import wait_until


@pytest.mark.parametrize("version", [4, 5])
def test_a_session_gets_what_came_while_it_was_away(peer: MakePeer, topic_prefix: str, version: int) -> None:
    expiry = {"SessionExpiryInterval": 300} if version == 5 else {}
    first = peer(version=version).connect(clean=False, **expiry)
    assert first.session_present is False
    first.subscribe(topic_prefix)
    first.close()
    peer().connect().publish_all(topic_prefix, numbers(500))
    back = peer(client_id=first.client_id, version=version).connect(clean=False, **expiry)
    assert back.session_present is True
    assert back.wait_for(500) == numbers(500)
    back.close()
    fresh = peer(client_id=first.client_id, version=version).connect(clean=True)
    assert fresh.session_present is False
    peer().connect().publish(topic_prefix, "for nobody")
    fresh.round_trip()
    assert fresh.messages == []


@pytest.mark.parametrize("version", [4, 5])
def test_what_was_not_acknowledged_comes_again_in_order_as_duplicates_and_first(
    peer: MakePeer, topic_prefix: str, version: int
) -> None:
    expiry = {"SessionExpiryInterval": 300} if version == 5 else {}
    first = peer(version=version, manual_ack=True).connect(clean=False, **expiry)
    first.subscribe(topic_prefix)
    publisher = peer().connect()
    publisher.publish_all(topic_prefix, numbers(10))
    first.wait_for(10)
    assert not any(message.dup for message in first.messages)
    for index in (0, 1, 4):
        first.ack(first.messages[index])
    first.round_trip()
    first.cut()
    publisher.publish_all(topic_prefix, numbers(3, start=10))
    back = peer(client_id=first.client_id, version=version).connect(clean=False, **expiry)
    assert back.wait_for(10) == ["2", "3", "5", "6", "7", "8", "9", "10", "11", "12"]
    # Of what came later, what the broker sent before it saw the cut is one too.
    again = [message.dup for message in back.messages]
    assert all(again[:7])
    assert again == sorted(again, reverse=True)
    sent_before = {message.payload: message.mid for message in first.messages}
    assert all(sent_before[message.payload] == message.mid for message in back.messages if message.dup)


def test_redelivery_keeps_to_a_smaller_receive_maximum(peer: MakePeer, topic_prefix: str) -> None:
    first = peer(manual_ack=True).connect(SessionExpiryInterval=300)
    first.subscribe(topic_prefix)
    peer().connect().publish_all(topic_prefix, numbers(30))
    first.wait_for(30)
    first.cut()
    back = peer(client_id=first.client_id, manual_ack=True).connect(
        clean=False, SessionExpiryInterval=300, ReceiveMaximum=7
    )
    for number in range(30):
        back.wait_for(number + 1)
        back.ack(back.messages[number])
    assert back.payloads == numbers(30)
    assert len({message.mid for message in back.messages}) == 30


def test_a_session_and_a_message_end_when_they_expire(peer: MakePeer, topic_prefix: str) -> None:
    short, long = peer().connect(SessionExpiryInterval=1), peer().connect(SessionExpiryInterval=300)
    short.subscribe(topic_prefix)
    long.subscribe(topic_prefix)
    short.close()
    long.close()
    publisher = peer().connect()
    publisher.publish(topic_prefix, "brief", MessageExpiryInterval=1)
    publisher.publish(topic_prefix, "lasting", MessageExpiryInterval=100)
    expired_at = time.monotonic() + 2.5
    wait_until(lambda: time.monotonic() > expired_at, message="both have expired")
    assert peer(client_id=short.client_id).connect(clean=False).session_present is False
    back = peer(client_id=long.client_id).connect(clean=False)
    assert back.session_present is True
    assert back.wait_for(1) == ["lasting"]
    left_s = back.messages[0].properties.MessageExpiryInterval  # type: ignore[union-attr]
    assert 0 < left_s < 100


def test_a_second_connection_takes_the_session_over(peer: MakePeer, topic_prefix: str) -> None:
    first = peer(manual_ack=True).connect(SessionExpiryInterval=300)
    first.subscribe(topic_prefix)
    publisher = peer().connect()
    publisher.publish_all(topic_prefix, numbers(5))
    first.wait_for(5)
    second = peer(client_id=first.client_id).connect(clean=False, SessionExpiryInterval=300)
    first.wait_for_end()
    assert second.session_present is True
    publisher.publish_all(topic_prefix, numbers(5, start=5))
    assert second.wait_for(10) == numbers(10)


@development_broker
def test_a_connection_that_is_taken_over_is_told_so(peer: MakePeer) -> None:
    """Mosquitto closes it without a word."""
    first = peer().connect()
    peer(client_id=first.client_id).connect()
    assert first.wait_for_end() == 0x8E


@pytest.mark.parametrize("version", [4, 5])
def test_a_will_is_published_when_the_connection_is_lost_and_not_after_a_goodbye(
    peer: MakePeer, topic_prefix: str, version: int
) -> None:
    watcher = peer().connect()
    watcher.subscribe(f"{topic_prefix}/#")
    peer(version=version).connect(will=(f"{topic_prefix}/polite", "not wanted")).close()
    peer(version=version).connect(will=(f"{topic_prefix}/lost", "gone")).cut()
    assert watcher.wait_for(1) == ["gone"]


def test_a_delayed_will_is_not_published_when_the_client_is_back_in_time(peer: MakePeer, topic_prefix: str) -> None:
    watcher = peer().connect()
    watcher.subscribe(f"{topic_prefix}/#")
    back_soon = peer().connect(will=(f"{topic_prefix}/back", "too early"), will_delay_s=4, SessionExpiryInterval=300)
    gone = peer().connect(will=(f"{topic_prefix}/gone", "in time"), will_delay_s=5, SessionExpiryInterval=300)
    gone.cut()
    back_soon.cut()
    peer(client_id=back_soon.client_id).connect(clean=False, SessionExpiryInterval=300)
    assert watcher.wait_for(1) == ["in time"]
