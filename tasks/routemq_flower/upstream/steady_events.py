"""What Flower hears of the workers, also soon after Redis was away."""

import logging
import time
from dataclasses import asdict, dataclass
from typing import Any

from celery.events import EventReceiver
from flower.events import Events

logger = logging.getLogger(__name__)

_AGAIN_AFTER_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Blindness:
    """That nothing is heard of the workers.

    Attributes:
        since: Unix seconds.
        because: What went wrong last; None while Flower connects for the first time.
    """

    since: float
    because: str | None = None


class SteadyEvents(Events):
    """Flower's own thread for events, which looks for Redis every two seconds; Flower doubles its pause each time.

    Attributes:
        blindness: None while events are heard. Only the thread sets it, as a whole; anybody may read it.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.blindness: Blindness | None = Blindness(since=time.time())

    def run(self) -> None:
        """Hear events until the process ends."""
        while True:
            try:
                self._capture()
            # Nobody but this thread hears of the workers: whatever ended it, it begins anew.
            except Exception as exc:
                self._missed(str(exc) or type(exc).__name__)
                logger.debug("events are not heard", exc_info=True)
                time.sleep(_AGAIN_AFTER_S)

    def told(self) -> dict[str, Any] | None:
        """Return what the pages say of it."""
        blindness = self.blindness
        return None if blindness is None else asdict(blindness)

    def begun(self) -> None:
        """Events are heard from now on."""
        if self.blindness is not None and self.blindness.because is not None:
            logger.info("the workers are heard again")
        self.blindness = None

    def _capture(self) -> None:
        with self.capp.connection() as connection:
            # Otherwise kombu tries again by itself, in pauses that grow.
            connection.ensure_connection(max_retries=1, interval_start=0)
            _SteadyReceiver(self, connection).capture(limit=None, timeout=None, wakeup=True)

    def _missed(self, because: str) -> None:
        before = self.blindness
        if before is None or before.because != because:
            logger.error("nothing is heard of the workers, trying again every %g s: %s", _AGAIN_AFTER_S, because)
        self.blindness = Blindness(since=time.time() if before is None else before.since, because=because)


class _SteadyReceiver(EventReceiver):
    connect_max_retries = 1

    def __init__(self, events: SteadyEvents, connection: Any) -> None:
        super().__init__(connection, handlers={"*": events.on_event}, app=events.capp)
        self._on_begun = events.begun

    def on_consume_ready(self, *args: Any, **options: Any) -> None:
        super().on_consume_ready(*args, **options)
        self._on_begun()
