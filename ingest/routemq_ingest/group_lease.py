"""Which ingest process holds the non-shared routes of a group."""

import logging
import time
from concurrent.futures import Future

import redis

from routemq.lifecycle.scripts import script_text
from routemq.queues import Keys
from routemq.refusals import explain
from routemq.text import stored_text
from routemq_ingest.errands import Errands

logger = logging.getLogger(__name__)

_AWAY = (redis.ConnectionError, redis.TimeoutError)

LEASE_S = 8.0
UNSERVED_S = 15.0
"""A holder that the MQTT broker does not serve for so long leaves the non-shared routes to another process."""
_RENEW_S = 2.0
_ASK_S = 1.0
_STEP_BACK_S = 4.0
"""Who gave it up for want of a broker asks less often until it has one: whoever has one is quicker."""
_MARGIN_S = 1.0
"""Given up so long before it ends, for the time that a DISCONNECT takes."""


class GroupLease:
    """Held by one process of the group at a time, unless Redis forgets; then the MQTT broker is the fence.

    Args:
        client: With a timeout well under the lease's length.
        holder: The process's MQTT client id: after a crash, the same process has it again at once.
        errands: Where Redis is asked; nothing else may keep them busy for long.

    Attributes:
        trouble: Why it is not known who holds it; None when it is.
    """

    def __init__(self, client: "redis.Redis", keys: Keys, *, group: str, holder: str, errands: Errands) -> None:
        self._key, self._holder, self._errands = keys.lease(group), holder, errands
        self._hold = client.register_script(script_text("hold_lease", package=__package__))
        self._release = client.register_script(script_text("release_lease", package=__package__))
        self._ends_at = self._ask_at = self._served_at = self._released_at = 0.0
        self._asking = self._steps_back = False
        self.trouble: str | None = "redis has not said yet who holds the non-shared routes"

    @property
    def held(self) -> bool:
        """Whether this process may be connected as the group's exclusive session."""
        return time.monotonic() < self._ends_at - _MARGIN_S

    def tend(self, *, served: bool = True) -> None:
        """Acquire or renew, when it is time; give it up when it is of no use here.

        Args:
            served: Whether the MQTT broker serves the session that the lease is for.
        """
        now = time.monotonic()
        if served:
            self._served_at, self._steps_back = now, False
        if self.held and now - self._served_at >= UNSERVED_S:
            logger.warning(
                "the mqtt broker does not serve the non-shared routes here for %.0f s, leaving them to another process",
                UNSERVED_S,
            )
            self._steps_back = True
            self.release()
            self._ask_at = now + _STEP_BACK_S
        elif now >= self._ask_at and not self._asking:
            self._asking = True
            # The lease counts from before the question, whatever the answer's way takes.
            self._errands.ask(
                lambda: self._hold(keys=[self._key], args=[self._holder, int(LEASE_S * 1000)]),
                then=lambda answer: self._answered(answer, asked_at=now),
            )

    def release(self) -> None:
        """Let another process have it at once."""
        if self._ends_at:
            self._ends_at, self._released_at = 0.0, time.monotonic()
            self._errands.ask(lambda: self._release(keys=[self._key], args=[self._holder]), then=self._released)

    def _answered(self, answer: "Future[bytes]", *, asked_at: float) -> None:
        self._asking = False
        if asked_at < self._released_at:
            return
        now, was_held = time.monotonic(), self.held
        ask_s = _STEP_BACK_S if self._steps_back else _ASK_S
        try:
            owner = answer.result()
        # Whatever it is, it is asked again: the lease must not end who takes messages of the other routes.
        except Exception as exc:  # noqa: BLE001
            before, self.trouble = self.trouble, f"the key {self._key!r} of the non-shared routes: {explain(exc)}"
            # That Redis is away is told already, by who has messages for it.
            if self.trouble != before and not isinstance(exc, _AWAY):
                logger.error("nobody can hold the non-shared routes: %s", self.trouble)
            self._ask_at = now + ask_s
            return
        self.trouble = None
        if owner == self._holder.encode():
            self._ends_at, self._ask_at = asked_at + LEASE_S, asked_at + _RENEW_S
            if not was_held:
                self._served_at = now
                logger.info("holding the non-shared routes client_id=%s", self._holder)
        else:
            self._ends_at, self._ask_at = 0.0, now + ask_s
            if was_held:
                logger.warning("another process holds the non-shared routes now holder=%s", stored_text(owner))

    def _released(self, answer: "Future[int]") -> None:
        try:
            answer.result()
        except Exception as exc:  # noqa: BLE001  whatever it is, it ends by itself
            logger.warning("lease not released, it ends by itself in %.0f s: %s", LEASE_S, exc)
