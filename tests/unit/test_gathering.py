"""Messages that wait for others of their batch: as many as may be in hand, and none that nobody goes on with."""

from types import SimpleNamespace
from typing import Any

from routemq_tasks.gathering import Gathering
from routemq_transport.upstream.qos import QoS

from routemq import Batch


def test_what_is_gathered_is_run_or_more_of_it_is_fetched_also_when_the_pace_has_changed() -> None:
    pace = [1000]
    channel: Any = SimpleNamespace(
        lease=SimpleNamespace(starts_within=lambda _time_s: pace[0]),
        intake=SimpleNamespace(pace=SimpleNamespace(has_room=lambda window, in_hand: in_hand < window)),
        has_lease=False,
    )
    hands = channel.qos = QoS(channel, 32)
    ran: list[Any] = []
    consumer = SimpleNamespace(timer=SimpleNamespace(call_after=lambda *_: None), on_task_request=ran.append)
    routes = [Gathering(Batch(max_messages=16, max_wait_s=600.0), consumer) for _ in range(3)]
    number = 0
    while hands.can_consume() and number < 45:
        message: Any = SimpleNamespace(body=b"{}", channel=channel)
        hands.append(message, str(number))
        request: Any = SimpleNamespace(message=message)
        routes[number % 3].add(request)
        number += 1
    pace[0] = 0
    assert ran or hands.can_consume()
