"""What the doctor's own tries make an MQTT broker drop, which counts it with everybody's."""

import logging
from typing import Any, cast

import orjson
import redis

from routemq.connections import connect_redis
from routemq.errors import RouteMQError
from routemq.queues import Keys
from routemq.settings import Settings
from routemq.text import error_line

logger = logging.getLogger(__name__)

_REDIS_TIMEOUT_S = 3.0


class OwnDrops:
    """Remembered in Redis, for the next doctor, as long as the broker counts them: until it is started again.

    Attributes:
        now: How many messages of this doctor's the broker has dropped.
    """

    def __init__(self, settings: Settings) -> None:
        self.now = 0
        self._settings, self._key = settings, Keys(settings.key_prefix).doctor_drops
        self._broker = f"{settings.mqtt_broker}:{settings.mqtt_port}"

    def count(self, *, uptime_s: int) -> int:
        """Return how many are this doctor's and those of doctors before it, and remember that.

        Args:
            uptime_s: Since when the broker counts. It tells this late, never early, so what is remembered from before
                its start is not taken for what it has counted since.
        """
        try:
            with connect_redis(self._settings, timeout_s=_REDIS_TIMEOUT_S) as client:
                # Redis' clock: who asks next may sit at another host.
                now = float(cast("tuple[int, int]", client.time())[0])
                before = self._noted(client, uptime_s, now=now)
                if self.now:
                    note = {"at": now, "count": before + self.now}
                    client.hset(self._key, self._broker, orjson.dumps(note))
        # What is wrong with Redis is told by the checks of Redis.
        except (redis.RedisError, RouteMQError) as exc:
            logger.debug("the doctor's own drops are not remembered: %s", error_line(exc))
            before = 0
        return before + self.now

    def _noted(self, client: "redis.Redis", uptime_s: int, *, now: float) -> int:
        note: Any = client.hget(self._key, self._broker)
        try:
            found = orjson.loads(note or b"{}")
            began = found["at"]
            return int(found["count"]) if 0 <= now - began <= uptime_s else 0
        # Of a later release, or of somebody else.
        except (KeyError, TypeError, ValueError):
            return 0
