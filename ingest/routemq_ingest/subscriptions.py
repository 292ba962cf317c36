"""Which subscription a route has, and which route a message is for."""

import hashlib
from collections.abc import Sequence
from functools import cached_property

from routemq.encoding import MessageEncoder
from routemq.errors import RouteError
from routemq.routing import Route, overlapping
from routemq.topics import share_filter

_LARGEST_IDENTIFIER = 0x0FFFFFFF
"""MQTT 5, 3.8.2.1.2."""


class Subscription:
    """One route's subscription.

    Attributes:
        filter: What is subscribed to, `$share/<group>/` included.
        identifier: Subscription identifier. It comes from the filter, not from the route's place in a list: what waits
            in the session over a new release of the application must not find another route behind its number.
        encoder: Makes the route's messages.
    """

    __slots__ = ("encoder", "filter", "identifier", "queue", "route", "route_name")

    def __init__(self, route: Route, *, topic_filter: str, identifier: int, show_payloads: bool) -> None:
        self.route = route
        self.route_name = route.name
        self.queue = route.queue
        self.filter = topic_filter
        self.identifier = identifier
        self.encoder = MessageEncoder(route=route.name, queue=route.queue, show_payload=show_payloads)


class Subscriptions:
    """The subscriptions of one MQTT session."""

    def __init__(self, routes: Sequence[Route], *, group: str, show_payloads: bool) -> None:
        self.by_identifier: dict[int, Subscription] = {}
        for route in routes:
            topic_filter = share_filter(group, route.template.filter) if route.shared else route.template.filter
            identifier = _identifier(topic_filter)
            while identifier in self.by_identifier:
                identifier = identifier % _LARGEST_IDENTIFIER + 1
            self.by_identifier[identifier] = Subscription(
                route, topic_filter=topic_filter, identifier=identifier, show_payloads=show_payloads
            )
        self.all = tuple(self.by_identifier.values())

    def for_topic(self, topic: str) -> tuple[Subscription, ...]:
        """Return the subscriptions that a topic belongs to; for brokers without subscription identifiers."""
        return tuple(found for found in self.all if found.route.template.match(topic) is not None)

    @cached_property
    def overlap(self) -> tuple[Route, Route] | None:
        """Two routes that want a copy of the same message each, if there are any."""
        return next(iter(overlapping([subscription.route for subscription in self.all])), None)

    def refuse_overlaps(self, *, because: str) -> None:
        """Without identifiers it cannot be told for which of two overlapping routes a copy was delivered.

        Raises:
            RouteError: Two routes overlap.
        """
        if self.overlap is not None:
            route, other = self.overlap
            raise RouteError(
                source=other.source,
                route=other.name,
                problem=f"it overlaps with the route {route.name!r} at {route.source}, and {because}, "
                "which gives no subscription identifiers to tell their messages apart",
                mend="change one of the topics, or use a broker that speaks MQTT 5",
            )


def _identifier(topic_filter: str) -> int:
    digest = hashlib.blake2b(topic_filter.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _LARGEST_IDENTIFIER + 1
