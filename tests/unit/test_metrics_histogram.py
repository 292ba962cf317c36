"""Quantiles of times in buckets."""

import random

import pytest

from routemq.metrics.histogram import BOUNDS_S, Histogram, difference, quantile


def filled(times_s: list[float]) -> Histogram:
    histogram = Histogram()
    for time_s in times_s:
        histogram.add(time_s)
    return histogram


def test_nothing_has_no_quantile() -> None:
    assert quantile(Histogram().counts, 0.5) is None


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_quantile_lies_in_the_bucket_of_the_true_one(share: float) -> None:
    times_s = [random.Random(7).expovariate(5) * scale for scale in range(1, 2000)]
    true_s = sorted(times_s)[int(share * len(times_s))]
    told_s = quantile(filled(times_s).counts, share)
    assert told_s is not None
    bounds = (0.0, *BOUNDS_S)
    bucket = next(index for index, bound in enumerate(bounds) if bound >= true_s)
    assert bounds[bucket - 1] <= told_s <= bounds[bucket]


def test_what_is_longer_than_every_bound_and_what_ran_backwards_are_counted() -> None:
    histogram = filled([-3.0, 0.0, 86_400.0])
    assert sum(histogram.counts) == 3
    assert histogram.counts[-1] == 1
    assert quantile(histogram.counts, 1.0) == BOUNDS_S[-1]
    assert histogram.cumulative()[-1] == ("+Inf", 3)
    assert histogram.sum_s == 86_400.0


def test_the_difference_of_two_readings_and_of_a_process_that_began_again() -> None:
    assert difference([3, 4], [1, 4]) == [2, 0]
    assert difference([1, 0], [3, 4]) == [1, 0]
    assert difference([1, 0], []) == [1, 0]
