"""Flower's health, and the numbers of the whole fleet for Prometheus."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import redis
from tornado.ioloop import IOLoop, PeriodicCallback

from routemq.connections import connect_redis
from routemq.metrics.exposition import FleetMetrics
from routemq.metrics.fleet import read_fleet
from routemq.metrics.http import HealthServer
from routemq.queues import Keys
from routemq.refusals import explain
from routemq.routing import Router
from routemq.settings import Settings

logger = logging.getLogger(__name__)

_TURN_EVERY_S = 1.0
_STALLED_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowerHealth:
    """How Flower is, at one moment.

    Attributes:
        alive: Its loop turns.
        problem: Why it cannot show anything, None when it can.
    """

    alive: bool
    problem: str | None

    @property
    def ready(self) -> bool:
        """Whether it can do its work."""
        return self.problem is None

    def to_json(self) -> dict[str, Any]:
        """Return what `/readyz` and `/healthz` answer."""
        return {"ready": self.ready, **asdict(self)}


class _Watch:
    """Knows when Flower's loop last turned, and asks Redis for itself."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._turned_at = time.monotonic()

    def turn(self) -> None:
        """The loop turns."""
        self._turned_at = time.monotonic()

    def look(self) -> FlowerHealth:
        """Return how Flower is; called in the thread of a probe."""
        stalled_s = time.monotonic() - self._turned_at
        alive = stalled_s < _STALLED_S
        problem = None if alive else f"its loop has not turned for {stalled_s:.0f} s"
        if problem is None:
            try:
                self._client.time()
            except redis.RedisError as exc:
                problem = explain(exc)
        return FlowerHealth(alive=alive, problem=problem)


def serve_health(settings: Settings, router: Router, queues: Mapping[str, int]) -> None:
    """Answer probes from now on, if `FLOWER_HEALTH_PORT` is set; called before Flower's loop begins.

    Args:
        queues: All that workers serve, those of the application's own tasks too, with the concurrency each asks for.

    Raises:
        ConfigurationError: The port is not free.
    """
    port = settings.flower_health_port
    if port is None:
        return
    client = connect_redis(settings, timeout_s=3.0)
    watch = _Watch(client)
    read = partial(
        read_fleet, client, Keys(settings.key_prefix), queues=list(queues),
        routes=router.routes, group=settings.mqtt_group_name,
    )  # fmt: skip
    metrics = FleetMetrics(read, wanted=queues)
    HealthServer.on(port, watch.look, metrics, variable="FLOWER_HEALTH_PORT").start()
    IOLoop.current().add_callback(lambda: PeriodicCallback(watch.turn, _TURN_EVERY_S * 1000).start())
