"""Which MQTT client id an ingest process has, where `MQTT_CLIENT_ID=auto` leaves that to Redis."""

import logging
import time
import uuid
from concurrent.futures import Future

import redis

from routemq.connections import connect_redis
from routemq.lifecycle.scripts import script_text
from routemq.queues import Keys
from routemq.refusals import explain
from routemq.settings import Settings
from routemq.text import stored_text
from routemq_ingest.errands import Errands

logger = logging.getLogger(__name__)

_AWAY = (redis.ConnectionError, redis.TimeoutError)

LEASE_S = 8.0
"""So long a holder that says nothing more is thought to be there."""
LEFT_S = 5.0
"""So long a client id that nobody holds waits for a process that starts anew; then one that runs takes it over."""
_RENEW_S = 2.0
_ASK_AGAIN_S = 1.0
_MARGIN_S = 1.0
"""A CONNECT is not begun so shortly before the end."""

_Answer = tuple[bytes, int, list[bytes]]


class NameLease:
    """One number of the group's, the end of a client id: held by one process at a time, for as long as it is renewed.

    A process that cannot renew it, be it frozen or cut off from Redis, keeps the MQTT connection that it has, but makes
    no new one (`is_sure`). So when another process resumes the session, the two do not take it from each other.

    Args:
        adopts: Hold this number alone, and only if it was left behind.

    Attributes:
        number: What is held, or was, as far as is known; None before the first answer, and when it was refused.
        given: How often a number was given that was not held before: another one, or the same one after all.
        trouble: Why it is not known; None when it is.
    """

    def __init__(self, settings: Settings, *, adopts: str | None = None) -> None:
        self._client = connect_redis(settings, timeout_s=1.0)
        self._key = Keys(settings.key_prefix).client_ids(settings.mqtt_group_name)
        self._stem, self._adopts = settings.client_id_base, adopts
        self._hold = self._client.register_script(script_text("hold_name", package=__package__))
        self._release = self._client.register_script(script_text("release_name", package=__package__))
        self._errands = Errands("mqtt client id", wake=lambda: None)
        self._holder = uuid.uuid4().hex
        self._ends_at = self._ask_at = 0.0
        self._asking = False
        self._left: dict[str, float] = {}
        self.number: str | None = adopts
        self.given = 0
        self.trouble: str | None = "redis has not said yet which mqtt client id is free"

    @property
    def client_id(self) -> str:
        """The whole client id."""
        return f"{self._stem}-{self.number}"

    @property
    def is_sure(self) -> bool:
        """Whether nobody else can hold it now."""
        return time.monotonic() < self._ends_at - _MARGIN_S

    def take_left_behind(self) -> str | None:
        """Return a number that nobody has held for a while, and whose session may hold messages; each at times."""
        now = time.monotonic()
        number = next((number for number, since in self._left.items() if now - since >= LEFT_S), None)
        if number is not None:
            del self._left[number]
        return number

    def tend(self) -> None:
        """Acquire or renew it, when it is time."""
        self._errands.tend()
        now = time.monotonic()
        if now >= self._ask_at and not self._asking:
            self._asking = True
            args: list[str | int] = [
                self._holder,
                int(LEASE_S * 1000),
                self.number or "",
                int(self._adopts is not None),
            ]
            # It counts from before the question, whatever the answer's way takes.
            self._errands.ask(
                lambda: self._hold(keys=[self._key], args=args), then=lambda answer: self._answered(answer, now)
            )

    def release(self, *, left_nothing: bool, timeout_s: float = 0.0) -> None:
        """Let another process have it at once.

        Args:
            left_nothing: The MQTT broker keeps nothing for it, so that nobody need take it over.
            timeout_s: For so long it is waited for.
        """
        if self.given:
            args: list[str | int] = [self._holder, self.number or "", int(left_nothing)]
            self._errands.ask(lambda: self._release(keys=[self._key], args=args), then=_released)
        self._ends_at, self._ask_at = 0.0, float("inf")
        self._errands.ask(self._client.close, then=lambda _: None)
        self._errands.finish(timeout_s=timeout_s)
        self._errands.close()

    def _answered(self, answer: "Future[_Answer]", asked_at: float) -> None:
        self._asking = False
        try:
            number, held, left = answer.result()
        # Whatever it is, it is asked again.
        except Exception as exc:  # noqa: BLE001
            # Others may not have been able to renew theirs either.
            self._left.clear()
            self._ask_at = time.monotonic() + _ASK_AGAIN_S
            before, self.trouble = self.trouble, f"the mqtt client ids, key {self._key!r}: {explain(exc)}"
            if self.trouble != before and (not self.given or not isinstance(exc, _AWAY)):
                logger.error("redis does not say which mqtt client id is free, trying again: %s", self.trouble)
            return
        self.trouble = None
        self.number = stored_text(number) or None
        if self.number is None:
            self._ends_at, self._ask_at = 0.0, float("inf")
            return
        self.given += not held
        self._ends_at, self._ask_at = asked_at + LEASE_S, asked_at + _RENEW_S
        self._left = {name: self._left.get(name, asked_at) for name in map(stored_text, left)}


def _released(answer: "Future[int]") -> None:
    exc = answer.exception()
    if exc is not None:
        logger.debug("the mqtt client id was not released, it is free in %.0f s: %s", LEASE_S, exc)
