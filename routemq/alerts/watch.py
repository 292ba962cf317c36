"""Looks at the fleet every few seconds; one process of the fleet at a time."""

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, cast

import orjson
import redis

from routemq.alerts.conditions import Condition, Limits, find_conditions
from routemq.alerts.delivery import Alert, Delivery
from routemq.lock import Lock
from routemq.metrics.fleet import FleetReading, read_fleet
from routemq.pauses import Reminders
from routemq.queues import Keys
from routemq.refusals import is_silence
from routemq.route import Route
from routemq.settings import Settings
from routemq.text import error_line, stored_text

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
_LOCK_S = 15
_RATE_OVER_S = 60.0
_SAY_AGAIN_S = 60.0
_MOST_AT_ADDRESS_S = 5.0
"""So long one look asks a slow address; what it has not been told by then waits for the next one."""
_SEEN_TWICE = 2
"""A condition is told when it holds at two looks in a row, and is over when it does not: a restart is none."""


class AlertWatch(threading.Thread):
    """Tells each condition once when it begins, and once when it is over.

    Every worker and every ingest process has one, so that somebody looks whatever else is gone; a lock in Redis lets
    one of them look. What was told is kept in Redis, so that the next one goes on where this one ends.

    Args:
        client: Of this thread's own.
        queues: Those of the application's routes, with their concurrency.
    """

    def __init__(
        self, settings: Settings, client: "redis.Redis", delivery: Delivery, *, queues: Mapping[str, int],
        routes: tuple[Route, ...], look_every_s: float = LOOK_EVERY_S,
    ) -> None:  # fmt: skip
        super().__init__(name="routemq-alerts", daemon=True)
        self._settings, self._client, self._delivery = settings, client, delivery
        self._keys, self._queues, self._routes = Keys(settings.key_prefix), queues, routes
        self._limits = Limits.of(settings)
        self._look_every_s = look_every_s
        self._lock = Lock(client=client, key=self._keys.alerts_lock, name=uuid.uuid4().hex, lasts_s=_LOCK_S)
        self._reminders = Reminders(_SAY_AGAIN_S)
        self._stopped = threading.Event()
        self._readings: deque[FleetReading] = deque()
        self._seen: dict[str, int] = {}
        self._here_alone_after = 0.0

    def run(self) -> None:
        while not self._stopped.wait(self._look_every_s):
            try:
                if self._has_lock():
                    self.look()
            # To watch must not end what is watched, and an error now is no error at the next look.
            except Exception as exc:  # noqa: BLE001
                if is_silence(exc):
                    logger.debug("no look at the fleet: %s", error_line(exc))
                # Else nobody would hear that nobody is told.
                elif self._reminders.speak(told := error_line(exc)):
                    logger.error("alerts are not sent meanwhile: %s", told)

    def stop(self) -> None:
        """End the thread; returns at once."""
        self._stopped.set()

    def look(self) -> None:
        """Look once, and tell what is new.

        Raises:
            redis.RedisError: Redis cannot be read.
        """
        fleet = read_fleet(
            self._client, self._keys, queues=self._queues, routes=self._routes, group=self._settings.mqtt_group_name
        )
        found = {
            condition.key: condition
            for condition in find_conditions(fleet, self._before(fleet), queues=self._queues, limits=self._limits)
        }
        self._here_alone_after = time.monotonic() + _MOST_AT_ADDRESS_S
        self._seen = {key: self._seen.get(key, 0) + 1 for key in found}
        told = self._told()
        for key, condition in found.items():
            if key not in told and self._seen[key] >= _SEEN_TWICE:
                self._begin(condition, fleet.at)
        for key, (since, text) in told.items():
            if key not in found:
                self._end(key, text, since, fleet.at)
        for key, alert in list(self._delivery.half_told.items()):
            holds = key in found
            # It changed before the address took it, which then is not told of it at all.
            if holds != (alert.event == "began"):
                del self._delivery.half_told[key]
                self._delivery.deliver_here(replace(alert, event="began" if holds else "ended", at=fleet.at))

    def _has_lock(self) -> bool:
        if self._lock.take():
            return True
        # The readings of a time when another one looked say nothing about now.
        self._readings.clear()
        self._seen.clear()
        self._delivery.half_told.clear()
        return False

    def _before(self, fleet: FleetReading) -> FleetReading | None:
        while self._readings and fleet.at - self._readings[0].at > _RATE_OVER_S:
            self._readings.popleft()
        before = self._readings[0] if self._readings else None
        self._readings.append(fleet)
        return before

    def _told(self) -> dict[str, tuple[float, str]]:
        found = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.alerts))
        return {stored_text(key): note for key, value in found.items() if (note := _note(value)) is not None}

    def _begin(self, condition: Condition, at: float) -> None:
        if self._arrives(self._alert("began", condition.key, condition.text, at, at)):
            self._client.hset(self._keys.alerts, condition.key, orjson.dumps([at, condition.text]))

    def _end(self, key: str, text: str, since: float, at: float) -> None:
        if self._arrives(self._alert("ended", key, text, since, at)):
            self._client.hdel(self._keys.alerts, key)

    def _arrives(self, alert: Alert) -> bool:
        # To tell takes its time: meanwhile nobody else may begin, and tell the same.
        if not self._lock.take():
            return False
        return self._delivery.deliver(alert, here_alone=time.monotonic() > self._here_alone_after)

    def _alert(self, event: Literal["began", "ended"], key: str, text: str, since: float, at: float) -> Alert:
        return Alert(event=event, key=key, text=text, group=self._settings.mqtt_group_name, since=since, at=at)


def _note(value: bytes) -> tuple[float, str] | None:
    """Read when a condition was told to have begun, and its text; None of what anybody else has written there."""
    try:
        since, text = orjson.loads(value)
        return float(since), str(text)
    except (ValueError, TypeError):
        return None
