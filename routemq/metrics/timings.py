"""How long messages waited, ran and took in all, by route; measured in the worker's main process."""

import time

from routemq.metrics.histogram import Histogram


class RouteTimings:
    """Of one route, since the worker began.

    Attributes:
        run: From the beginning of a run to its end, whatever became of it.
        wait: From the receipt of a message to the beginning of a run; first runs alone.
        latency: From the receipt of a message to the end of the run that did it.
    """

    __slots__ = ("latency", "run", "wait")

    def __init__(self) -> None:
        self.run, self.wait, self.latency = Histogram(), Histogram(), Histogram()


class Timings:
    """Of all routes of a worker. The pool's threads may add at once; a time that is lost then is no message lost."""

    def __init__(self) -> None:
        self.routes: dict[str, RouteTimings] = {}

    def run_totals(self) -> dict[str, tuple[int, float]]:
        """Return of each route how many runs ended, and what they took in all, in seconds."""
        return {name: (sum(found.run.counts), found.run.sum_s) for name, found in list(self.routes.items())}

    def ended(self, route: str, *, took_s: float, received_at: object, is_first: bool, is_done: bool) -> None:
        """Count a run that ended now.

        Args:
            took_s: By a clock that never jumps.
            received_at: Unix seconds, by ingest's clock; what is none is passed over.
        """
        timings = self.routes.get(route)
        if timings is None:
            timings = self.routes[route] = RouteTimings()
        timings.run.add(took_s)
        if not isinstance(received_at, (int, float)) or not received_at:
            return
        latency_s = time.time() - received_at
        if is_first:
            timings.wait.add(latency_s - took_s)
        if is_done:
            timings.latency.add(latency_s)
