"""All checks, in the order in which a person would make them."""

from collections.abc import Iterator

import redis

from routemq.connections import connect_redis
from routemq.metrics.fleet import read_fleet
from routemq.queues import Keys
from routemq.routing import Router
from routemq.settings import Settings
from routemq.text import error_line
from routemq_ops.doctor.broker_checks import check_broker
from routemq_ops.doctor.finding import Finding, failed
from routemq_ops.doctor.fleet_checks import check_fleet
from routemq_ops.doctor.own_drops import OwnDrops
from routemq_ops.doctor.store_checks import check_store

_REDIS_TIMEOUT_S = 3.0


def examine(settings: Settings, router: Router, *, live: bool = True) -> Iterator[Finding]:
    """Check everything; each finding comes as it is found.

    Args:
        live: Also try the broker with messages of the doctor's own.
    """
    try:
        yield from check_broker(settings, router.routes, live=live, own_drops=OwnDrops(settings))
    # A check that breaks is a finding, and the others go on.
    except Exception as exc:  # noqa: BLE001
        yield failed("mqtt connection", error_line(exc), "see MQTT_BROKER and the MQTT_TLS_… settings")
    keys = Keys(settings.key_prefix)
    try:
        with connect_redis(settings, timeout_s=_REDIS_TIMEOUT_S) as client:
            yield from check_store(client, keys, router.routes)
            fleet = read_fleet(
                client, keys, queues=router.queues, routes=router.routes,
                group=settings.mqtt_group_name,
            )  # fmt: skip
            yield from check_fleet(fleet, router.routes, router.queues, settings)
    except redis.exceptions.NoPermissionError as exc:
        yield failed(
            "redis permissions", error_line(exc), "let its user do it; deploy/redis/users.acl is what each role needs"
        )
    except redis.RedisError as exc:
        yield failed("redis connection", error_line(exc), "see REDIS_URL, and Redis' own log")
    # As above.
    except Exception as exc:  # noqa: BLE001
        yield failed("redis connection", error_line(exc), "see REDIS_URL and the REDIS_TLS_… settings")
