"""Which subscriptions a route may have, and which route a message is for."""

import hashlib
from collections.abc import Sequence

from routemq.encoding import MessageEncoder
from routemq.route import Route
from routemq.topics import share_filter
from routemq.tracing.trace_context import TraceContext

_LARGEST_IDENTIFIER = 0x0FFFFFFF
"""MQTT 5, 3.8.2.1.2."""


class Subscription:
    """One route's subscription.

    Attributes:
        filter: What is subscribed to, `$share/<group>/` included.
        shared: Whether it is one with `$share`.
        identifier: Subscription identifier. It comes from the filter, not from the route's place in a list: what waits
            in the session over a new release of the application must not find another route behind its number.
        encoder: Makes the route's messages.
    """

    __slots__ = ("encoder", "filter", "identifier", "queue", "route", "route_name", "shared")

    def __init__(self, route: Route, *, topic_filter: str, identifier: int, encoder: MessageEncoder) -> None:
        self.route = route
        self.route_name = route.name
        self.queue = route.queue
        self.filter = topic_filter
        self.shared = topic_filter != route.template.filter
        self.identifier = identifier
        self.encoder = encoder


class Subscriptions:
    """Every subscription that the routes may have; each MQTT session has some of them at a time.

    Whatever session a message waits in, and for whichever form of its route's filter, its number is known.

    Args:
        trace: What messages say of where they come from that nobody traces.

    Attributes:
        shared: Of the shared routes, with `$share`.
        plain: Of the same routes, without it.
        own: Of the routes that are not shared.
        twins: A shared and a non-shared route with one filter, which no session can have twice.
    """

    def __init__(
        self, routes: Sequence[Route], *, group: str, show_payloads: bool, trace: TraceContext | None = None
    ) -> None:
        self.by_identifier: dict[int, Subscription] = {}
        encoders = {
            route.name: MessageEncoder(route=route.name, queue=route.queue, show_payload=show_payloads, trace=trace)
            for route in routes
        }

        def subscription(route: Route, topic_filter: str) -> Subscription:
            identifier = _identifier(topic_filter)
            while identifier in self.by_identifier:
                identifier = identifier % _LARGEST_IDENTIFIER + 1
            made = Subscription(route, topic_filter=topic_filter, identifier=identifier, encoder=encoders[route.name])
            self.by_identifier[identifier] = made
            return made

        sharing = [route for route in routes if route.shared]
        self.shared = tuple(subscription(route, share_filter(group, route.template.filter)) for route in sharing)
        self.own = tuple(subscription(route, route.template.filter) for route in routes if not route.shared)
        by_filter = {each.filter: each.route for each in self.own}
        pairs = ((route, by_filter.get(route.template.filter)) for route in sharing)
        self.twins = next(((route, other) for route, other in pairs if other is not None), None)
        self.plain = tuple(subscription(route, route.template.filter) for route in sharing)

    def for_topic(self, topic: str, wanted: Sequence[Subscription]) -> Sequence[Subscription]:
        """Return the subscriptions that a topic belongs to; for messages without a subscription identifier.

        Args:
            wanted: What the session is subscribed to; what waits in it may still be of what it was subscribed to.
        """
        found = [each for each in wanted if each.route.template.match(topic) is not None]
        return found or [each for each in (*self.own, *self.shared) if each.route.template.match(topic) is not None]


def _identifier(topic_filter: str) -> int:
    digest = hashlib.blake2b(topic_filter.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _LARGEST_IDENTIFIER + 1
