"""Whether anybody wants to be told: where nobody does, a process looks at nothing, and loads nothing for it."""

from typing import TYPE_CHECKING

from routemq.alerts.delivery import Delivery
from routemq.connections import connect_redis
from routemq.routing import Router
from routemq.settings import Settings

if TYPE_CHECKING:
    from routemq.alerts.watch import AlertWatch


def alert_watch(settings: Settings, router: Router) -> "AlertWatch | None":
    """Return the watch of a process, not yet started; None when nobody wants to be told.

    Raises:
        ConfigurationError: `ALERT_HOOK` or `ALERT_WEBHOOK` cannot be used.
    """
    delivery = Delivery(settings)
    if not delivery.is_wanted:
        return None
    from routemq.alerts.watch import AlertWatch

    client = connect_redis(settings, timeout_s=2.0)
    return AlertWatch(settings, client, delivery, queues=router.queues, routes=router.routes)
