"""When ingest lets messages come together."""

import pytest
from routemq_ingest.cadence import FEW, REST_S, Cadence


class Clock:
    """Stands still until it is put on."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_messages_that_come_one_by_one_are_sent_at_once() -> None:
    clock = Clock()
    cadence = Cadence(clock)
    for _ in range(5):
        cadence.sent(1)
        assert cadence.rest_s == 0
        clock.now_s += 1.01 * REST_S


def test_messages_of_a_denser_flow_come_together_until_it_is_over() -> None:
    clock = Clock()
    cadence = Cadence(clock)
    cadence.sent(1)
    clock.now_s += REST_S / 2
    cadence.sent(1)
    assert cadence.rest_s == pytest.approx(REST_S)
    clock.now_s += 1.01 * REST_S
    assert cadence.rest_s == 0
    cadence.sent(3)
    assert cadence.rest_s == pytest.approx(REST_S)
    clock.now_s += 1.01 * REST_S
    cadence.sent(1)
    assert cadence.rest_s == 0


@pytest.mark.parametrize("count", [FEW, 500])
def test_many_are_kept_waiting_for_nothing(count: int) -> None:
    clock = Clock()
    cadence = Cadence(clock)
    cadence.sent(2)
    cadence.sent(count)
    assert cadence.rest_s == 0
