"""How many of what a fetch takes it marks as started."""

from types import SimpleNamespace

import pytest
from routemq_transport.holding import starts as module
from routemq_transport.holding.starts import SOON_S, Starts

from routemq.lifecycle.moves import StartCommand
from routemq.queues import Keys


@pytest.mark.parametrize(
    ("per_s", "empty", "marks", "in_turn"),
    [(0, False, 0, 1), (0, True, 1, 1), (200, False, 10, 1), (5000, True, 32, 5)],
)
def test_a_fetch_marks_and_takes_in_turn_as_many_as_will_start_soon_at_the_pace_of_late(
    monkeypatch: pytest.MonkeyPatch, per_s: int, empty: bool, marks: int, in_turn: int
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    starts = Starts(None, StartCommand(Keys("")), ())
    starts.mark()
    starts.near(1, hands_are_empty=True)
    tags = [str(number) for number in range(per_s)]
    starts.marked_by_fetch(tags)
    clock.now = 1.0
    starts.mark(*tags)
    # A window has room for 32, however few will come.
    assert starts.near(32, hands_are_empty=empty) == marks == max(min(32, int(per_s * SOON_S)), int(empty))
    assert starts.in_turn == in_turn
    assert starts.within(0.010) == per_s // 100


def test_a_pace_that_gets_slower_is_seen_before_the_next_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    starts = Starts(None, StartCommand(Keys("")), ())
    tags = [str(number) for number in range(1000)]
    starts.marked_by_fetch(tags)
    clock.now = 0.1
    starts.mark(*tags)
    starts.near(1, hands_are_empty=False)
    assert starts.within(0.010) == 100
    # Between two fetches that follow each other it is not known yet.
    clock.now = 0.105
    assert starts.within(0.010) == 100
    clock.now = 1.1
    assert starts.within(0.010) == 0
