"""Which ingest process holds the non-shared routes of a group."""

import logging
import time

import redis

from routemq.lifecycle.scripts import script_text
from routemq.queues import Keys

logger = logging.getLogger(__name__)

LEASE_S = 8.0
_RENEW_S = 2.0
_ASK_S = 1.0
_MARGIN_S = 1.0
"""Given up so long before it ends, for the time that a DISCONNECT takes."""


class Lease:
    """Held by one process of the group at a time, unless Redis forgets; then the MQTT broker is the fence.

    Args:
        client: With a timeout well under the lease's length.
        holder: The process's MQTT client id: after a crash, the same process has it again at once.
    """

    def __init__(self, client: "redis.Redis", keys: Keys, *, group: str, holder: str) -> None:
        self._key, self._holder = keys.lease(group), holder
        self._hold = client.register_script(script_text("hold_lease", package=__package__))
        self._release = client.register_script(script_text("release_lease", package=__package__))
        self._ends_at = 0.0
        self._ask_at = 0.0
        self.answered = False

    @property
    def held(self) -> bool:
        """Whether this process may be connected as the group's exclusive session."""
        return time.monotonic() < self._ends_at - _MARGIN_S

    def tend(self) -> None:
        """Acquire or renew, when it is time."""
        now = time.monotonic()
        if now < self._ask_at:
            return
        was_held = self.held
        try:
            # The lease counts from before the question, whatever the answer's way takes.
            owner = self._hold(keys=[self._key], args=[self._holder, int(LEASE_S * 1000)])
        except redis.RedisError as exc:
            logger.debug("lease not asked for: %s", exc)
            self._ask_at = time.monotonic() + _ASK_S
            return
        self.answered = True
        if owner == self._holder.encode():
            self._ends_at, self._ask_at = now + LEASE_S, now + _RENEW_S
            if not was_held:
                logger.info("holding the non-shared routes client_id=%s", self._holder)
        else:
            self._ends_at, self._ask_at = 0.0, now + _ASK_S
            if was_held:
                logger.warning("another process holds the non-shared routes now holder=%s", owner.decode())

    def release(self) -> None:
        """Let another process have it at once."""
        if self._ends_at:
            self._ends_at = 0.0
            try:
                self._release(keys=[self._key], args=[self._holder])
            except redis.RedisError as exc:
                logger.warning("lease not released, it ends by itself in %.0f s: %s", LEASE_S, exc)
