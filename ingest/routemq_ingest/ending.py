"""How a session is ended that nothing is wanted of: when its MQTT broker has nothing more for it."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from routemq.settings import Settings
from routemq_ingest.errands import Errands
from routemq_ingest.opening import close_connection, wipe_session
from routemq_ingest.upstream.connection import BrokerConnection

logger = logging.getLogger(__name__)

_APART_S = 0.25
_ROUNDS = 2


class Fence:
    """Passed when two PINGs in a row were answered without a PUBLISH in between.

    A PINGRESP comes after what the broker sent before it. But a receive maximum that is used up holds messages back, so
    a PING counts only when nothing is owed; and a broker that reads its store aside may answer first, so it takes two,
    some time apart. A broker that pauses answers neither.
    """

    def __init__(self, connection: BrokerConnection) -> None:
        self.connection = connection
        self._quiet_rounds = 0
        self._ping: int | None = None
        self._published, self._next_at = 0, 0.0

    def passed(self, now: float) -> bool:
        """Go on, and say whether it is passed."""
        connection = self.connection
        if connection.owed or connection.want_write() or connection.published != self._published:
            # What is owed holds back what follows: begin anew.
            self._quiet_rounds, self._ping, self._published = 0, None, connection.published
            return False
        if self._ping is not None and connection.pongs >= self._ping:
            self._ping, self._quiet_rounds = None, self._quiet_rounds + 1
        if self._ping is None and now >= self._next_at and self._quiet_rounds < _ROUNDS:
            self._ping, self._next_at = connection.ping(), now + _APART_S
        return self._quiet_rounds >= _ROUNDS


class Ending:
    """The end of a session; what is wanted of it again puts that off.

    Args:
        close: Lets go of the session's connection.
        ended: Called when the broker need not keep anything for it.

    Attributes:
        is_under_way: A connection of its own ends the session; there may be no other.
    """

    def __init__(
        self,
        settings: Settings,
        client_id: str,
        errands: Errands,
        *,
        close: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self._settings, self._client_id, self._errands = settings, client_id, errands
        self._close, self._ended = close, ended
        self._fence: Fence | None = None
        self.is_under_way = False

    def tend(self, connection: BrokerConnection, now: float) -> None:
        """Go on towards it."""
        if self._fence is None or self._fence.connection is not connection:
            self._fence = Fence(connection)
        if not self._fence.passed(now):
            return
        self._fence = None
        if connection.is_mqtt5:
            close_connection(connection, ends_session=True)
            self._close()
            self._done()
        else:
            self._close()
            self.is_under_way = True
            self._errands.ask(partial(wipe_session, self._settings, self._client_id), then=self._wiped)

    def put_off(self) -> None:
        """Begin anew when it is time."""
        self._fence = None

    def _wiped(self, answer: "Future[None]") -> None:
        self.is_under_way = False
        try:
            answer.result()
        # Whatever it is, the broker keeps a session that has no subscription.
        except Exception as exc:  # noqa: BLE001
            logger.error("mqtt session not ended, the broker keeps it client_id=%s: %s", self._client_id, exc)
        self._done()

    def _done(self) -> None:
        self._ended()
        logger.info("drained, the session is ended client_id=%s", self._client_id)
