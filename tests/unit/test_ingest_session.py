"""What a session asks before it takes a step: when to connect again, whether it may share, which routes overlap."""

import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from routemq_ingest.overlaps import Overlaps, overlap_error
from routemq_ingest.reconnection import Reconnection
from routemq_ingest.sharing import Sharing
from routemq_ingest.subscriptions import Subscriptions
from routemq_ingest.upstream.connection import BrokerConnection

from routemq import Router
from routemq.settings import Settings


def steady() -> Reconnection:
    return Reconnection(spread=lambda: 1.0)


def test_a_broker_that_is_away_is_tried_steadily_however_long_it_takes() -> None:
    reconnection, now = steady(), 1000.0
    assert reconnection.is_due(now)
    delays_s = set()
    for _ in range(100):
        reconnection.tried()
        delays_s.add(reconnection.put_off(now))
        assert not reconnection.is_due(now)
        now += max(delays_s)
        assert reconnection.is_due(now)
    assert len(delays_s) == 1
    assert max(delays_s) <= 2


def test_a_broker_that_answers_and_refuses_is_left_longer_each_time() -> None:
    reconnection, now, delays_s = steady(), 1000.0, []
    for _ in range(50):
        reconnection.tried()
        assert not reconnection.is_answered
        reconnection.answered()
        delays_s.append(reconnection.put_off(now))
        now += delays_s[-1]
    assert delays_s == sorted(delays_s)
    assert delays_s[0] < 1 < delays_s[-1] < 60


def test_connections_that_end_soon_are_told_and_one_that_was_steady_makes_up_for_them() -> None:
    reconnection, now = steady(), 1000.0

    def connection_of(seconds: float) -> bool:
        nonlocal now
        reconnection.tried()
        reconnection.answered()
        reconnection.accepted(now)
        now += seconds
        told = reconnection.is_short_again(now)
        reconnection.ended(now)
        now += reconnection.put_off(now)
        return told

    assert [connection_of(1) for _ in range(5)] == [False, False, False, True, True]
    assert not connection_of(3600)
    assert [connection_of(1) for _ in range(3)] == [False, False, True]


def test_who_was_closed_from_here_connects_again_at_once() -> None:
    reconnection = steady()
    reconnection.put_off(1000.0)
    assert not reconnection.is_due(1000.0)
    reconnection.hurry()
    assert reconnection.is_due(1000.0)


def test_a_fleet_does_not_connect_at_one_moment() -> None:
    delays_s = {Reconnection().put_off(0.0) for _ in range(20)}
    assert len(delays_s) > 10


@pytest.mark.parametrize(
    ("topics", "names"),
    [(["a/{x}", "b/{x}"], None), (["a/{x}", "b/{x}", "a/one"], {"a/{x}", "a/one"}), ([], None)],
)
def test_two_routes_that_want_the_same_message_are_found(topics: list[str], names: set[str] | None) -> None:
    router = Router()
    for topic in topics:
        router.on(topic, "nowhere:Controller.method")
    wanted = Subscriptions(router.routes, group="g", show_payloads=False).own
    overlaps = Overlaps()
    pair = overlaps.of(wanted)
    assert (pair and {route.name for route in pair}) == names
    assert overlaps.of(wanted) is pair
    if pair is not None:
        error = overlap_error(*pair, because="the broker is old")
        assert "the broker is old" in str(error)
        assert all(route.name in str(error) for route in pair)


def test_a_broker_of_mqtt_3_1_1_is_not_taken_at_its_word_before_it_was_tried() -> None:
    sharing = Sharing(Settings(), client_id="c")
    older = BrokerConnection(client_id="c", protocol=MQTTProtocolVersion.MQTTv311)
    newer = BrokerConnection(client_id="c", protocol=MQTTProtocolVersion.MQTTv5)
    assert "not known yet" in (sharing.trouble(older) or "")
    assert sharing.trouble(newer) is None
    sharing.told(available=False)
    assert "no shared subscriptions" in (sharing.trouble(newer) or "")
