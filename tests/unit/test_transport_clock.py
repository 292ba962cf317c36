"""When Redis' clock is believed."""

import pytest
from routemq_transport.holding.clock import SteadyClock


class Clocks:
    """Both clocks, and what looks at them every ten seconds."""

    def __init__(self) -> None:
        self.here, self.redis = 1000.0, 1_790_000_000.0
        self.steady = SteadyClock(lease_s=120.0, renewed_every_s=10.0, monotonic=lambda: self.here)

    def pass_s(self, seconds: float, *, seen: bool = True) -> bool:
        """Let time pass for both; return whether every look was as expected."""
        even = True
        for _ in range(int(seconds // 10)):
            self.here += 10
            self.redis += 10
            if seen:
                even = self.steady.saw(self.redis) and even
        return even

    @property
    def believed(self) -> bool:
        return self.steady.believed_in_s == 0.0


def test_it_is_believed_after_it_went_evenly_while_all_others_renewed() -> None:
    clocks = Clocks()
    assert clocks.pass_s(20)
    assert not clocks.believed
    assert clocks.pass_s(10)
    assert clocks.believed
    assert clocks.redis < clocks.steady.latest < clocks.redis + 60


@pytest.mark.parametrize("jump_s", [3600.0, 30.0, -3600.0])
def test_a_jump_is_noticed_and_waited_out(jump_s: float) -> None:
    clocks = Clocks()
    clocks.pass_s(100)
    clocks.redis += jump_s
    assert (clocks.redis > clocks.steady.latest) is (jump_s > 0)
    assert not clocks.pass_s(10)
    assert not clocks.believed
    assert clocks.steady.believed_in_s == 20
    assert clocks.pass_s(20)
    assert clocks.believed


def test_an_absence_in_which_nobody_could_renew_is_waited_out() -> None:
    clocks = Clocks()
    clocks.pass_s(100)
    clocks.pass_s(30, seen=False)
    assert clocks.steady.saw(clocks.redis)
    assert clocks.believed
    clocks.pass_s(50, seen=False)
    assert not clocks.steady.saw(clocks.redis)
    assert not clocks.believed


def test_small_corrections_are_no_jump() -> None:
    clocks = Clocks()
    for correction_s in [5.0, -5.0, 15.0] * 10:
        clocks.redis += correction_s
        assert clocks.pass_s(10)
    assert clocks.believed
