"""What a process tells of itself."""

import pytest

from routemq.metrics.presence import clock_ahead_s


@pytest.mark.parametrize(
    ("asked_at", "told_at", "ahead_s"),
    [(100.0, 100.0, 0.0), (100.0, 102.9, 0.0), (97.1, 100.0, 0.0), (131.0, 133.0, 31.0), (67.0, 69.0, -31.0)],
)
def test_a_machine_that_stands_still_has_no_wrong_clock(asked_at: float, told_at: float, ahead_s: float) -> None:
    assert clock_ahead_s(100.0, asked_at=asked_at, told_at=told_at) == ahead_s
