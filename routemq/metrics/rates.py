"""Messages a second, from totals that only grow."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from routemq.metrics.totals import RouteTotals

_WINDOW_S = 15.0
_LEAST_S = 1.0
_SAMPLES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Messages a second of one route.

    Attributes:
        incoming: Received, or replayed from the dead letters.
        outgoing: Done or dead.
    """

    incoming: float
    outgoing: float


class RouteRates:
    """Remembers the totals of the last moments, whoever asked for them."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Mapping[str, RouteTotals]]] = deque(maxlen=_SAMPLES)

    def add(self, totals: Mapping[str, RouteTotals], *, now: float | None = None) -> dict[str, Rates] | None:
        """Return the rates since about fifteen seconds ago; None until there is something to compare with."""
        at = time.monotonic() if now is None else now
        earlier = [sample for sample in self._samples if _LEAST_S <= at - sample[0] <= _WINDOW_S]
        if not self._samples or at - self._samples[-1][0] >= _LEAST_S:
            self._samples.append((at, totals))
        if not earlier:
            return None
        then, before = earlier[0]
        return {route: _rates(before.get(route, RouteTotals()), now_, at - then) for route, now_ in totals.items()}


def _rates(before: RouteTotals, after: RouteTotals, elapsed_s: float) -> Rates:
    incoming = after.received + after.replayed - before.received - before.replayed
    outgoing = after.done + after.dead - before.done - before.dead
    # Counters begin again when Redis is emptied.
    return Rates(incoming=max(0, incoming) / elapsed_s, outgoing=max(0, outgoing) / elapsed_s)
