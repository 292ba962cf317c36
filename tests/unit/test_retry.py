"""When a message is run again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routemq import RetryPolicy


def test_default_is_one_second_two_seconds_then_dead() -> None:
    policy = RetryPolicy()
    first, second = policy.delay_after(1), policy.delay_after(2)
    assert first is not None
    assert second is not None
    assert 1.0 <= first <= 1.1
    assert 2.0 <= second <= 2.2
    assert policy.delay_after(3) is None


def test_delays_double_up_to_their_bound() -> None:
    policy = RetryPolicy(max_attempts=7, base_delay_s=1, max_delay_s=10, jitter=0)
    assert [policy.delay_after(attempts) for attempts in range(1, 8)] == [1, 2, 4, 8, 10, 10, None]


def test_messages_that_failed_together_do_not_come_back_together() -> None:
    assert len({RetryPolicy(jitter=0.5).delay_after(1) for _ in range(20)}) > 10


@given(st.integers(1, 100_000), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 2), st.integers(1, 100_000))
def test_delay_is_within_its_bounds(
    max_attempts: int, base_delay_s: float, max_delay_s: float, jitter: float, attempts: int
) -> None:
    policy = RetryPolicy(max_attempts=max_attempts, base_delay_s=base_delay_s, max_delay_s=max_delay_s, jitter=jitter)
    delay_s = policy.delay_after(attempts)
    if attempts >= max_attempts:
        assert delay_s is None
    else:
        assert delay_s is not None
        assert min(base_delay_s, max_delay_s) <= delay_s <= max_delay_s * (1 + jitter)


@pytest.mark.parametrize(
    "options",
    [
        {"max_attempts": 0},
        {"max_attempts": "3"},
        {"max_attempts": True},
        {"base_delay_s": "1"},
        {"base_delay_s": float("inf")},
        {"max_delay_s": None},
        {"base_delay_s": -1},
        {"max_delay_s": float("nan")},
        {"jitter": -0.1},
        {"never": ValueError},
        {"never": ("ValueError",)},
    ],
)
def test_impossible_policy_names_the_value(options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"^{name}="):
        RetryPolicy(**options)


def test_a_policy_may_have_no_bound_of_its_delays() -> None:
    policy = RetryPolicy(max_attempts=1000, max_delay_s=float("inf"), jitter=0)
    assert policy.delay_after(11) == 1024
