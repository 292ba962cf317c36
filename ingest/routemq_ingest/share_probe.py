"""Whether an MQTT 3.1.1 broker has shared subscriptions; one of MQTT 5 says so."""

import enum
import hashlib

from routemq_ingest.packets import Publish
from routemq_ingest.upstream.connection import BrokerConnection

_TOPICS = b"routemq/probe/"
_SHARED, _PLAIN = b"shared", b"plain"
_AGAIN_S = 0.5
_TRIES = 4


def is_of_a_probe(publish: Publish) -> bool:
    """Return whether a message is for no route, whatever wildcard it came for."""
    return publish.topic.startswith(_TOPICS)


class Verdict(enum.Enum):
    """What is known of the broker."""

    OPEN = "not known yet"
    SHARES = "it has shared subscriptions"
    LITERAL = "it takes $share for a level like any other"
    UNKNOWN = "it lets no message of a trial through"


class ShareProbe:
    """Publishes to a topic of its own, and sees which subscription brings it: one with `$share`, or only a plain one.

    When neither brings it, an access list may forbid it: then nothing is known. A topic that begins with `$`, which no
    wildcard would match, will not do: Mosquitto shares none of these.
    """

    def __init__(self, connection: BrokerConnection, *, group: str, client_id: str) -> None:
        self.verdict = Verdict.OPEN
        self._connection = connection
        self._topic = f"{_TOPICS.decode()}{hashlib.blake2b(client_id.encode(), digest_size=8).hexdigest()}"
        self._shared = f"$share/{group}-probe/{self._topic}"
        self._plainly = False
        self._tries, self._next_at = 0, 0.0
        connection.subscribe(self._shared, 0)

    def tend(self, now: float) -> None:
        """Publish once more, or go on to the next question."""
        if self.verdict is not Verdict.OPEN or now < self._next_at:
            return
        if self._tries < _TRIES:
            self._tries, self._next_at = self._tries + 1, now + _AGAIN_S
            self._connection.publish(self._topic, _PLAIN if self._plainly else _SHARED, 0)
        elif not self._plainly:
            self._plainly, self._tries = True, 0
            self._connection.unsubscribe(self._shared)
            self._connection.subscribe(self._topic, 0)
        else:
            self._decide(Verdict.UNKNOWN)

    def learn(self, publish: Publish) -> None:
        """Make something of a message that is a probe's, this one's or another's."""
        if self.verdict is Verdict.OPEN and publish.topic == self._topic.encode():
            self._decide(Verdict.LITERAL if publish.payload == _PLAIN else Verdict.SHARES)

    def _decide(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self._connection.unsubscribe(self._topic if self._plainly else self._shared)
