"""Whether a session's broker has shared subscriptions: one of MQTT 5 says so, one of 3.1.1 is tried."""

import logging

from routemq.settings import Settings
from routemq_ingest.packets import Publish
from routemq_ingest.share_probe import ShareProbe, Verdict, is_of_a_probe
from routemq_ingest.upstream.connection import BrokerConnection

logger = logging.getLogger(__name__)

_VAIN_PROBES = 2


class Sharing:
    """What is known of it, from one connection to the next.

    Attributes:
        is_impossible: The broker has none.
    """

    def __init__(self, settings: Settings, *, client_id: str) -> None:
        self._settings, self._client_id = settings, client_id
        self.is_impossible = False
        self._probe: ShareProbe | None = None
        self._is_tried, self._vain_probes = False, 0

    def trouble(self, connection: BrokerConnection) -> str | None:
        """Return why shared routes get no messages here, or may get none; None when they do."""
        if self.is_impossible:
            return "the mqtt broker has no shared subscriptions: set MQTT_SHARE to auto or never"
        if self._is_open(connection):
            return "it is not known yet whether the mqtt broker has shared subscriptions"
        return None

    def _is_open(self, connection: BrokerConnection) -> bool:
        return not (connection.is_mqtt5 or self._is_tried or self._vain_probes >= _VAIN_PROBES)

    def told(self, *, available: bool) -> None:
        """The broker itself says whether it has them."""
        self._is_tried = False
        self.decide(possible=available)

    def decide(self, *, possible: bool) -> None:
        """It is known now."""
        if not possible and not self.is_impossible:
            logger.error(
                "NO SHARED SUBSCRIPTIONS at the mqtt broker, it would send the shared routes nothing: %s",
                "one process takes all instead" if self._settings.mqtt_share == "auto" else "set MQTT_SHARE to auto",
            )
        self.is_impossible = not possible

    def try_out(self, connection: BrokerConnection, now: float, *, wanted: bool) -> None:
        """Find out whether $share works: an MQTT 3.1.1 broker may grant it, and mean something else.

        Args:
            wanted: Whether anything is to be shared.
        """
        if self._probe is None:
            if not wanted or not self._is_open(connection):
                return
            self._probe = ShareProbe(connection, group=self._settings.mqtt_group_name, client_id=self._client_id)
        self._probe.tend(now)
        if self._probe.verdict is Verdict.OPEN or self._is_tried:
            return
        self._is_tried = True
        self.decide(possible=self._probe.verdict is not Verdict.LITERAL)
        if self._probe.verdict is Verdict.UNKNOWN:
            logger.warning(
                "it is not known whether the mqtt broker has shared subscriptions, it lets nothing through on routemq/"
                "probe/#: see whether messages arrive, and set MQTT_SHARE=never if none do client_id=%s",
                self._client_id,
            )

    def takes(self, connection: BrokerConnection, publish: Publish) -> bool:
        """Take a message that is a probe's, of this session or of another; return whether it was."""
        if not is_of_a_probe(publish):
            return False
        if self._probe is not None:
            self._probe.learn(publish)
        if publish.qos:
            connection.acknowledge([publish.mid])
        return True

    def lost(self) -> None:
        """The connection was lost: the broker may have hung up on a probe."""
        if self._probe is not None and self._probe.verdict is Verdict.OPEN:
            self._vain_probes += 1
        self._probe = None

    def closed(self) -> None:
        """The connection was closed from here."""
        self._probe = None
