"""One MQTT session: its connections one after the other, and its subscriptions on each of them."""

import enum
import logging
import random
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from routemq.connections import prepare_mqtt
from routemq.errors import RouteError, RouteMQError
from routemq.mqtt import ProtocolChoice, connect_problem, hung_up
from routemq.routing import Route, overlapping
from routemq.settings import Settings
from routemq_ingest.connection import BrokerConnection, properties
from routemq_ingest.errands import Errands
from routemq_ingest.fence import Fence
from routemq_ingest.filters import Filters
from routemq_ingest.intake import Intake
from routemq_ingest.memory import SessionMemory
from routemq_ingest.packets import Publish
from routemq_ingest.probe import ShareProbe, Verdict, is_of_a_probe
from routemq_ingest.reasons import connect_mend, disconnect_mend
from routemq_ingest.subscriptions import Subscription

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 5.0
_RETRY_S = 1.0
"""A broker that is away is tried so often, however long it takes: some lose messages until we SUBSCRIBE again."""
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 15.0
"""Who is refused, or loses the connection again and again, is a burden to a broker that is there."""
_STEADY_S = 30.0
_SILENT_S = 10.0
"""A broker that has nothing to say is pinged long before."""
_QUICK_LOSSES = 3
_GOODBYE_S = 2.0
_VAIN_PROBES = 2


class State(enum.Enum):
    """Where a session stands."""

    AWAY = "away"
    CONNECTING = "connecting"
    SUBSCRIBING = "subscribing"
    READY = "ready"


class Session:
    """A persistent session with a stable client id, which connects and subscribes again whenever it must.

    One that has nothing to subscribe to, and nothing left at the broker, is ended, and connects no more.

    Args:
        errands: Where it connects: a name server, TCP and TLS may take their time.

    Attributes:
        filters: What it is subscribed to.
        cannot_share: The broker has no shared subscriptions.
        cannot_have_all: Shared and non-shared routes overlap, and the broker does not number their messages.
    """

    def __init__(
        self, settings: Settings, *, client_id: str, intake: Intake, memory: SessionMemory, errands: Errands
    ) -> None:
        self.client_id = client_id
        self.filters = Filters(client_id, memory=memory, intake=intake)
        self.connection: BrokerConnection | None = None
        self._settings, self._intake, self._errands = settings, intake, errands
        self._opening: BrokerConnection | None = None
        self._is_up = self._ending = False
        self._fence: Fence | None = None
        self._retry_at = self._connected_at = self._deadline = 0.0
        self._setbacks = 0
        self._answered = self._switching = self._was_ready = self._was_new = False
        self._ended_by = ""
        self.cannot_share = self.cannot_have_all = False
        self._probe: ShareProbe | None = None
        self._is_tried, self._vain_probes = False, 0
        self._kept_s = settings.mqtt_session_expiry_s
        self._choice = ProtocolChoice(settings.mqtt_protocol)
        self._overlap_of: Sequence[Subscription] = ()
        self._overlapping: tuple[Route, Route] | None = None

    @property
    def state(self) -> State:
        """Where it stands; READY when every subscription was answered."""
        if self._is_up:
            return State.READY if self.filters.settled else State.SUBSCRIBING
        return State.AWAY if self.connection is None and self._opening is None else State.CONNECTING

    @property
    def serves(self) -> bool:
        """Whether the broker serves all that is wanted."""
        return self.state is State.READY and not self.filters.refused and self._sharing_trouble is None

    @property
    def is_idle(self) -> bool:
        """Whether it needs no connection: nothing is wanted, and the broker has nothing."""
        return self.filters.all_left and self.connection is None and self._opening is None and not self._ending

    @property
    def protocol(self) -> str:
        """Name of the protocol's version that is spoken or tried."""
        return self._choice.name

    def trouble(self, now: float) -> str | None:
        """Return why no messages come, None while they may; safe from other threads."""
        connection = self.connection
        if not self.filters.wanted:
            return None
        if self.state is not State.READY or connection is None:
            return f"the mqtt session {self.client_id} is {self.state.value}{self._ended_by and ': '}{self._ended_by}"
        if refused := list(self.filters.refused):
            return f"the mqtt broker refuses {', '.join(refused)}"
        if self._sharing_trouble is not None:
            return self._sharing_trouble
        if now - connection.heard_at > _SILENT_S:
            return f"the mqtt broker has not answered for {now - connection.heard_at:.0f} s"
        return None

    def tend(self, *, reading: bool) -> None:
        """Connect when it is time, keep the connection alive, and notice its end."""
        now = time.monotonic()
        self.filters.tend(now)
        connection = self.connection
        if connection is None:
            due = self.filters.wanted or self.filters.unwanted
            if due and self._opening is None and not self._ending and now >= self._retry_at:
                self._connect()
            return
        if connection.socket() is not None:
            connection.tend(reading=reading)
        if not self._is_up and now > self._deadline and connection.socket() is not None:
            self._ended_by = f"no CONNACK within {_CONNECT_TIMEOUT_S:.0f} s"
            connection.abandon()
        if connection.socket() is None:
            self._lost(now)
        elif self.state is State.READY:
            self._was_ready = True
            self._try_sharing(connection, now)
            if self.filters.all_left:
                self._end_when_empty(connection, now)
            else:
                self._fence = None

    @property
    def _shares(self) -> bool:
        return any(subscription.shared for subscription in self.filters.wanted)

    @property
    def _sharing_trouble(self) -> str | None:
        if not self._shares:
            return None
        if self.cannot_share:
            return "the mqtt broker has no shared subscriptions: set MQTT_SHARE to auto or never"
        probe = self._probe
        if probe is not None and probe.verdict is Verdict.OPEN:
            return "it is not known yet whether the mqtt broker has shared subscriptions"
        return None

    def _try_sharing(self, connection: BrokerConnection, now: float) -> None:
        """Find out whether $share works: an MQTT 3.1.1 broker may grant it, and mean something else."""
        if self.filters.no_sharing:
            self._set_cannot_share(True)
        if self._probe is None:
            if connection.is_mqtt5 or not self._shares or self._is_tried or self._vain_probes >= _VAIN_PROBES:
                return
            self._probe = ShareProbe(connection, group=self._settings.mqtt_group_name, client_id=self.client_id)
        self._probe.tend(now)
        if self._probe.verdict is Verdict.OPEN or self._is_tried:
            return
        self._is_tried = True
        self._set_cannot_share(self._probe.verdict is Verdict.LITERAL)
        if self._probe.verdict is Verdict.UNKNOWN:
            logger.warning(
                "it is not known whether the mqtt broker has shared subscriptions, it lets nothing through on routemq/"
                "probe/#: see whether messages arrive, and set MQTT_SHARE=never if none do client_id=%s",
                self.client_id,
            )

    def _set_cannot_share(self, cannot: bool) -> None:
        if cannot and not self.cannot_share:
            logger.error(
                "NO SHARED SUBSCRIPTIONS at the mqtt broker, it would send the shared routes nothing: %s",
                "one process takes all instead" if self._settings.mqtt_share == "auto" else "set MQTT_SHARE to auto",
            )
        self.cannot_share = cannot

    def _accept(self, connection: BrokerConnection, publish: Publish) -> bool:
        """Take a message over MQTT 3.1.1, where one may be a probe's."""
        if not is_of_a_probe(publish):
            return self._intake.accept(connection, publish)
        if self._probe is not None:
            self._probe.learn(publish)
        if publish.qos:
            connection.acknowledge([publish.mid])
        return True

    def close(self) -> None:
        """Say DISCONNECT and go; the broker keeps the session."""
        connection, self.connection, self._opening = self.connection, None, None
        if connection is not None and connection.socket() is not None:
            connection.disconnect()
            connection.flush(timeout_s=_GOODBYE_S)
        self._is_up = False
        self.filters.lost()
        self._probe = None
        self._retry_at = 0.0

    def _end_when_empty(self, connection: BrokerConnection, now: float) -> None:
        if self._fence is None or self._fence.connection is not connection:
            self._fence = Fence(connection)
        if not self._fence.passed(now):
            return
        self._fence = None
        if connection.is_mqtt5:
            connection.disconnect(properties=properties(PacketTypes.DISCONNECT, SessionExpiryInterval=0))
            connection.flush(timeout_s=_GOODBYE_S)
            self.close()
            self._ended(None)
        else:
            self.close()
            self._ending = True
            self._errands.ask(self._begin_clean_session, then=self._ended)

    def _ended(self, answer: "Future[None] | None") -> None:
        self._ending = False
        try:
            if answer is not None:
                answer.result()
        # Whatever it is, the broker keeps a session that has no subscription.
        except Exception as exc:  # noqa: BLE001
            logger.error("mqtt session not ended, the broker keeps it client_id=%s: %s", self.client_id, exc)
        self.filters.ended()
        logger.info("drained, the session is ended client_id=%s", self.client_id)

    def _begin_clean_session(self) -> None:
        """End the session on MQTT 3.1.1, which knows no other way."""
        wiper = BrokerConnection(client_id=self.client_id, protocol=MQTTProtocolVersion.MQTTv311, clean_session=True)
        wiper.connect_timeout = _CONNECT_TIMEOUT_S
        prepare_mqtt(wiper, self._settings)
        wiper.connect(self._settings.mqtt_broker, self._settings.mqtt_port)
        wiper.wait_connected(timeout_s=_CONNECT_TIMEOUT_S)
        wiper.disconnect()
        wiper.flush(timeout_s=_GOODBYE_S)

    def _connect(self) -> None:
        if self._choice.older and self._settings.mqtt_protocol == "3.1.1":
            self._refuse_overlaps(because="MQTT_PROTOCOL is 3.1.1")
        self._ended_by = ""
        self._answered = False
        connection = BrokerConnection(client_id=self.client_id, protocol=self._choice.version)
        connection.connect_timeout = _CONNECT_TIMEOUT_S
        accept = self._intake.accept if connection.is_mqtt5 else self._accept
        connection.on_publish_packet = partial(accept, connection)
        connection.on_connect = self._on_connect
        connection.on_disconnect = self._on_disconnect
        connection.on_subscribe = self.filters.on_subscribe
        connection.on_unsubscribe = self.filters.on_unsubscribe
        self._opening = connection
        self._errands.ask(partial(self._open, connection), then=partial(self._opened, connection))

    def _open(self, connection: BrokerConnection) -> None:
        settings = self._settings
        prepare_mqtt(connection, settings)
        asked = None
        if connection.is_mqtt5:
            asked = properties(
                PacketTypes.CONNECT,
                SessionExpiryInterval=settings.mqtt_session_expiry_s,
                ReceiveMaximum=settings.mqtt_receive_maximum,
            )
        connection.connect(
            settings.mqtt_broker,
            settings.mqtt_port,
            keepalive=settings.mqtt_keepalive_s,
            # Paho's default for MQTT 5 wipes the session at the first connect of each process.
            clean_start=False if connection.is_mqtt5 else MQTT_CLEAN_START_FIRST_ONLY,
            properties=asked,
        )
        if connection is not self._opening:
            connection.abandon()

    def _opened(self, connection: BrokerConnection, answer: "Future[None]") -> None:
        if connection is not self._opening:
            connection.abandon()
            return
        self._opening = None
        now = time.monotonic()
        try:
            answer.result()
        except RouteMQError:
            raise
        # A host name that cannot be one, or a user name that MQTT has no room for, is told as any other failure.
        except Exception as exc:  # noqa: BLE001
            self._ended_by = connect_problem(exc, self._settings)
            self._lost(now)
        else:
            self.connection, self._deadline = connection, now + _CONNECT_TIMEOUT_S

    def _lost(self, now: float) -> None:
        settings, was_connected = self._settings, self._is_up
        unanswered = self.connection is not None and not self._answered
        told = f" ({self.connection.broken_by})" if self.connection is not None and self.connection.broken_by else ""
        self.connection, self._is_up = None, False
        self.filters.lost()
        if self._probe is not None and self._probe.verdict is Verdict.OPEN:
            self._vain_probes += 1  # the broker may have hung up on it
        self._probe = None
        if was_connected:
            self._choice.ended()
            if now - self._connected_at > _STEADY_S:
                self._setbacks = 0
        if self._switching:
            self._switching = False
            return
        delay_s = _RETRY_S
        if self._answered:
            delay_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(self._setbacks, 10))
            self._setbacks += 1
        delay_s *= random.uniform(0.75, 1.25)  # noqa: S311  only spreads the load of a fleet
        self._retry_at = now + delay_s
        why = self._ended_by or (f"{hung_up(settings)}{told}" if unanswered else "connection closed")
        if unanswered and settings.mqtt_protocol == "auto" and self._overlap():
            why += "; two routes overlap, so MQTT 3.1.1 is not tried"
        logger.error(
            "mqtt connection %s broker=%s:%d client_id=%s: %s; next try in %.1f s",
            "lost" if was_connected else "failed", settings.mqtt_broker, settings.mqtt_port, self.client_id,
            why, delay_s,
        )  # fmt: skip
        # Not with routes that overlap: one CONNECT of 3.1.1, and Mosquitto keeps one copy where both want theirs.
        if unanswered and not self._overlap() and self._choice.unanswered():
            logger.warning("mqtt broker: no answer to CONNECT again and again; trying %s", self.protocol)

    def _on_connect(
        self, connection: Any, _: Any, flags: ConnectFlags, reason: ReasonCode, connack: Properties | None
    ) -> None:
        self._answered = True
        if reason.is_failure:
            self._ended_by = f"the broker refuses: {reason}{connect_mend(reason, self._settings)}"
            if reason.value == 0x84 and self._settings.mqtt_protocol == "auto":
                if self._refuse_overlaps(because="the mqtt broker does not speak MQTT 5"):
                    return
                self._switching = self._choice.refused()
                logger.warning("mqtt broker: it does not speak MQTT 5; trying %s", self.protocol)
            return
        self._was_new |= not flags.session_present
        if not self._choice.accepted():
            logger.info("mqtt broker: it answers MQTT 3.1.1; trying once more whether it answers %s", self.protocol)
            self._switching = True
            connection.abandon()
            return
        self._connected_at = time.monotonic()
        by_number = connection.is_mqtt5 and getattr(connack, "SubscriptionIdentifierAvailable", 1) == 1
        if not by_number and self._refuse_overlaps(because=f"the mqtt broker is spoken to by {self.protocol}"):
            connection.abandon()
            return
        self._intake.by_number = by_number
        # What an earlier connection found, and could not make use of, is true still.
        resumed, self._was_new = not self._was_new, False
        logger.info(
            "mqtt connected broker=%s:%d client_id=%s protocol=%s session=%s",
            self._settings.mqtt_broker, self._settings.mqtt_port, self.client_id, self.protocol,
            "resumed" if resumed else "new",
        )  # fmt: skip
        self._heed_expiry(connack)
        if connection.is_mqtt5:
            self._is_tried = False
            self._set_cannot_share(getattr(connack, "SharedSubscriptionAvailable", 1) == 0)
        self._is_up = True
        self.filters.connected(connection, resumed=resumed, by_number=by_number)

    def _heed_expiry(self, connack: Properties | None) -> None:
        """Tell when the broker keeps the session for less long than it was asked to (MQTT 5, 3.2.2.3.2)."""
        kept_s, asked_s = getattr(connack, "SessionExpiryInterval", self._kept_s), self._settings.mqtt_session_expiry_s
        if kept_s != self._kept_s and kept_s < asked_s:
            logger.warning(
                "the mqtt broker keeps the session of an absent client for %d s, not for MQTT_SESSION_EXPIRY_S=%d: if "
                "we are away for longer, what comes for us is lost client_id=%s",
                kept_s, asked_s, self.client_id,
            )  # fmt: skip
        self._kept_s = kept_s

    def _overlap(self) -> tuple[Route, Route] | None:
        """Return two routes that want a copy of the same message each, if there are any."""
        wanted = self.filters.wanted
        if self._overlap_of is not wanted:
            self._overlap_of = wanted
            self._overlapping = next(iter(overlapping([subscription.route for subscription in wanted])), None)
        return self._overlapping

    def _refuse_overlaps(self, *, because: str) -> bool:
        """Return whether routes overlap, so that this connection is of no use.

        Raises:
            RouteError: They do, and were never served: a mistake of the configuration. A broker that could tell them
                apart before may do so again, and keeps our messages so long.
        """
        pair = self._overlap()
        if pair is None:
            return False
        route, other = pair
        if route.shared != other.shared and self._settings.mqtt_share == "auto":
            self.cannot_have_all, self._ended_by = True, f"the routes {route.name!r} and {other.name!r} overlap"
            return True
        error = RouteError(
            source=other.source,
            route=other.name,
            problem=f"it overlaps with the route {route.name!r} at {route.source}, and {because}, "
            "which gives no subscription identifiers to tell their messages apart",
            mend="change one of the topics, or use a broker that speaks MQTT 5",
        )
        if not self._was_ready:
            raise error
        self._ended_by = str(error)
        return True

    def _on_disconnect(
        self, connection: Any, _: Any, flags: DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        if self._ended_by:
            return
        if flags.is_disconnect_packet_from_server:
            self._ended_by = f"the broker says: {reason}{disconnect_mend(reason, self.client_id)}"
        elif self._is_up:
            # Paho's word for a connection that just ended.
            self._ended_by = (connection.broken_by or "the connection broke") if reason.value == 0x80 else f"{reason}"
            if self._setbacks >= _QUICK_LOSSES and time.monotonic() - self._connected_at < _STEADY_S:
                self._ended_by += f" again; if it goes on, see whether another process connects as {self.client_id!r}"
