"""When an MQTT broker has nothing more for a session."""

from routemq_ingest.upstream.connection import BrokerConnection

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
