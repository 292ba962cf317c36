"""Which of a process's two MQTT sessions each route is on."""

from routemq.errors import RouteError
from routemq.settings import Settings
from routemq_ingest.group import Group
from routemq_ingest.group_lease import GroupLease
from routemq_ingest.session import Session
from routemq_ingest.subscriptions import Subscriptions


class Placement:
    """Non-shared routes are on the group's session, which the holder of the lease connects; shared ones on the
    process's own, with `$share`, or on the group's, without.

    They move when the group changes its mind, in such an order that each message is for somebody, and for one alone
    but for the moment in between: the new place is subscribed to first, then the old one is left; and nobody begins to
    share while another process still has all.

    Raises:
        RouteError: `MQTT_SHARE` is `never`, and a shared and a non-shared route have one filter.
    """

    def __init__(
        self,
        settings: Settings,
        routes: Subscriptions,
        *,
        group: Group,
        own: Session,
        exclusive: Session,
        lease: GroupLease,
    ) -> None:
        self._routes, self._group, self._lease = routes, group, lease
        self._own, self._exclusive = own, exclusive
        self._everything = (*routes.own, *routes.plain)
        self._plain_filters = {subscription.filter for subscription in routes.plain}
        self._may_wish = settings.mqtt_share == "auto"
        self._leaving = False
        if routes.twins is not None and self._may_wish:
            group.wish, group.plain = "always", False
        elif routes.twins is not None and settings.mqtt_share == "never":
            shared, other = routes.twins
            raise RouteError(
                source=shared.source,
                route=shared.name,
                problem=f"without $share it has the filter of the route {other.name!r} at {other.source}",
                mend="change one of the topics, or set MQTT_SHARE to auto or always",
            )

    @property
    def trouble(self) -> str | None:
        """Why the shared routes have no place yet, or may have two; None when all is well. Safe from other threads."""
        group = self._group
        if not self._routes.shared:
            return None
        if group.trouble is not None:
            return group.trouble
        if not group.plain and not self._is_free:
            return f"{group.holder} has the shared routes without $share, and has not let go of them yet"
        if group.plain:
            placed = not self._lease.held or self._exclusive.filters.wanted is self._everything
        else:
            placed = self._own.filters.wanted is self._routes.shared
        return None if placed else "the shared routes are about to be subscribed to"

    def leave(self) -> None:
        """From now on, take no more than what the broker already has for this process."""
        self._leaving = True

    def tend(self) -> None:
        """Say what each session should be subscribed to now."""
        routes, group, own, exclusive = self._routes, self._group, self._own.filters, self._exclusive.filters
        if not routes.shared:
            own.want((), leaving=True)
            exclusive.want(routes.own, leaving=True)
            return
        if self._may_wish and self._exclusive.cannot_have_all:
            group.wish = "always"
        elif self._may_wish and self._own.cannot_share:
            group.wish = "never"
        group.tend(has_session=own.may_be_present, claims=self._claims, serves=self._serves_all)
        has_all = group.holder == self._own.client_id
        if self._leaving:
            own.want((), leaving=True)
        elif group.plain is None:
            own.want((), leaving=False)
            exclusive.want(routes.own, leaving=False)
        elif group.plain:
            exclusive.want(self._everything if has_all else routes.own, leaving=has_all)
            own.want((), leaving=group.holder is not None and group.holder_serves)
        else:
            own.want(routes.shared if self._is_free else (), leaving=self._is_free)
            exclusive.want(routes.own, leaving=self._own.serves)

    @property
    def takes_all(self) -> bool:
        """Whether this process has the shared routes without `$share`. Safe from other threads."""
        return self._lease.held and bool(self._routes.shared) and self._exclusive.filters.wanted is self._everything

    @property
    def is_moving(self) -> bool:
        """Whether a route has two places at this moment, which should be over soon."""
        own, exclusive = self._own.filters, self._exclusive.filters
        return bool(own.unwanted or exclusive.unwanted)

    @property
    def _is_free(self) -> bool:
        return self._group.holder in (None, self._own.client_id)

    @property
    def _serves_all(self) -> bool:
        return self._exclusive.filters.wanted is self._everything and self._exclusive.serves

    @property
    def _claims(self) -> bool:
        """Whether no other process may share: the shared routes are to be here without `$share`, or are here still."""
        if not self._lease.held:
            return False
        if self._group.plain:
            return True
        has_all = self._group.holder == self._own.client_id
        return has_all and not self._plain_filters.isdisjoint(self._exclusive.filters.unwanted)
