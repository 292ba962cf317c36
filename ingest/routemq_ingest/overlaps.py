"""Routes of one session that want a copy of the same message each."""

from collections.abc import Sequence

from routemq.errors import RouteError
from routemq.route import Route
from routemq.routing import overlapping
from routemq_ingest.subscriptions import Subscription


class Overlaps:
    """Finds them, once for the same subscriptions: a broker that does not number its messages can only be refused."""

    def __init__(self) -> None:
        self._of: Sequence[Subscription] = ()
        self._pair: tuple[Route, Route] | None = None

    def of(self, wanted: Sequence[Subscription]) -> tuple[Route, Route] | None:
        """Return two routes that overlap, if there are any."""
        if self._of is not wanted:
            self._of = wanted
            self._pair = next(iter(overlapping([subscription.route for subscription in wanted])), None)
        return self._pair


def overlap_error(route: Route, other: Route, *, because: str) -> RouteError:
    """Return what to say of two routes that overlap.

    Args:
        because: Why the broker cannot tell their messages apart.
    """
    return RouteError(
        source=other.source,
        route=other.name,
        problem=f"it overlaps with the route {route.name!r} at {route.source}, and {because}, "
        "which gives no subscription identifiers to tell their messages apart",
        mend="change one of the topics, or use a broker that speaks MQTT 5",
    )
