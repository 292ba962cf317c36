"""Times in buckets that only grow, as Prometheus has them; quantiles of what came between two moments."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Upper bounds of the buckets, in seconds; one more bucket holds what is longer."""


class Histogram:
    """Counts of one route's times, since the process began. One thread adds; others may read.

    Attributes:
        counts: Of each bucket alone, the last for what is longer than every bound.
        sum_s: Of all times.
    """

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, time_s: float) -> None:
        """Count one time; a clock that went back gives none below zero."""
        time_s = max(time_s, 0.0)
        self.counts[bisect_left(BOUNDS_S, time_s)] += 1
        self.sum_s += time_s

    def cumulative(self) -> list[tuple[str, int]]:
        """Return the buckets as Prometheus writes them: upper bound, how many are no longer."""
        bounds = [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"]
        return list(zip(bounds, accumulate(self.counts), strict=True))


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Return the time that this share of all does not exceed, in seconds; None of nothing.

    Linear within a bucket, as Prometheus' `histogram_quantile`; what is longer than every bound counts as the last one.

    Args:
        counts: Of each bucket alone, such as the difference of two readings.
        share: From 0 to 1.
    """
    total = sum(counts)
    if total <= 0:
        return None
    wanted, seen = share * total, 0
    for index, count in enumerate(counts):
        if seen + count >= wanted and count:
            if index == len(BOUNDS_S):
                break
            lower = BOUNDS_S[index - 1] if index else 0.0
            return lower + (BOUNDS_S[index] - lower) * max(0.0, wanted - seen) / count
        seen += count
    return BOUNDS_S[-1]


def difference(after: Sequence[int], before: Sequence[int]) -> list[int]:
    """Return what came between two readings; a process that began again counts from zero."""
    if len(before) != len(after) or any(new < old for new, old in zip(after, before, strict=True)):
        return list(after)
    return [new - old for new, old in zip(after, before, strict=True)]
