"""A route's history as columns of numbers, for programs and for charts."""

from collections.abc import Sequence
from typing import Any

from routemq.metrics.histogram import quantile
from routemq.metrics.history import History, Slot
from routemq.metrics.history_grain import COUNTS

_SHARES = {"p50": 0.5, "p95": 0.95}
TIMES = tuple(f"{kind}_{name}_s" for kind in ("run", "wait") for name in _SHARES)


def columns_of(found: History) -> dict[str, Any]:
    """Return a list for each count and time, with a number for each step, and in `sums` those of all steps.

    A count is None where nobody looked, which is no zero; a time, where nothing ran.
    """
    slots = found.slots
    known = [slot.counts for slot in slots if slot.counts is not None]
    times = [_times([slot]) for slot in slots]
    return {
        "route": found.route,
        "step_s": found.step_s,
        "from": slots[0].at,
        "until": slots[-1].at + found.step_s,
        **{name: [None if slot.counts is None else slot.counts[name] for slot in slots] for name in COUNTS},
        **{name: [each[name] for each in times] for name in TIMES},
        "is_left_out": found.is_left_out,
        "sums": {name: sum(counts[name] for counts in known) for name in COUNTS} | _times(slots),
    }


def _times(slots: Sequence[Slot]) -> dict[str, float | None]:
    found = {}
    for kind in ("run", "wait"):
        counts = [sum(column) for column in zip(*(getattr(slot, kind) for slot in slots), strict=True)]
        for name, share in _SHARES.items():
            time_s = quantile(counts, share)
            found[f"{kind}_{name}_s"] = None if time_s is None else float(f"{time_s:.3g}")
    return found
