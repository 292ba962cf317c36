"""When ingest lets messages come together."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
from routemq_ingest.batch import Entry, OpenBatch
from routemq_ingest.cadence import FEW, REST_S, Cadence
from routemq_ingest.errands import Errands
from routemq_ingest.flow import Flow
from routemq_ingest.handover import Handover
from routemq_ingest.queue_writer import Sent

ENTRY: Entry = ("route", "queue", b"{}", None, None, 0)


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


class Taker:
    """Writes nowhere, and takes all that it is given."""

    def __init__(self) -> None:
        self.begun: list[int] = []

    def begin(self, entries: Sequence[Entry]) -> bool:
        self.begun.append(len(entries))
        return True

    def finish(self) -> Sent:
        return Sent(self.begun[-1], {})


def test_a_handover_that_rests_sends_nothing_and_then_all_that_has_come() -> None:
    clock, taker, batch = Clock(), Taker(), OpenBatch()
    flow, errands = Flow(max_queue_length=100), Errands("none", wake=lambda: None)
    flow.delivered({})
    handover = Handover(batch, cast("Any", taker), flow, errands, cadence=Cadence(clock))
    batch.add(ENTRY)
    batch.add(ENTRY)
    handover.tend()
    assert handover.rests
    handover.read()
    for _ in range(3):
        batch.add(ENTRY)
        handover.tend()
    assert taker.begun == [2]
    assert 0 < handover.idle_s <= REST_S
    clock.now_s += 1.01 * REST_S
    handover.tend()
    assert taker.begun == [2, 3]
