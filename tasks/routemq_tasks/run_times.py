"""How long the runs of each route take, as measured."""

BUNDLE_S = 0.01
"""What is handed to a child at once is expected to be done in this time; a longer run is handed out alone."""

_WEIGHT = 1 / 8
_LONGEST_S = 4 * BUNDLE_S
"""As much as one run can say: after one that hung, some dozen quick ones make the route quick again."""


class RunTimes:
    """Moving averages, by the names of routes."""

    def __init__(self) -> None:
        self._average_s: dict[str, float] = {}

    def expected_s(self, route: str) -> float:
        """Return how long a run will take; of a route that was not run yet, as long as is worth a bundle."""
        return self._average_s.get(route, BUNDLE_S)

    def add(self, route: str, took_s: float) -> None:
        """A run has ended."""
        before = self.expected_s(route)
        self._average_s[route] = before + (min(took_s, _LONGEST_S) - before) * _WEIGHT
