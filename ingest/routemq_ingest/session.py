"""One MQTT session: its connections one after the other, and its subscriptions on each of them."""

import enum
import logging
import random
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from functools import partial
from typing import Any

from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from routemq.connections import prepare_mqtt
from routemq.errors import RouteError, RouteMQError
from routemq.mqtt import ProtocolChoice, connect_problem, hung_up
from routemq.settings import Settings
from routemq_ingest.connection import BrokerConnection, properties
from routemq_ingest.errands import Errands
from routemq_ingest.intake import Intake
from routemq_ingest.reasons import connect_mend, disconnect_mend, subscribe_mend
from routemq_ingest.subscriptions import Subscription, Subscriptions

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
_ASK_AGAIN_S = 60.0


class State(enum.Enum):
    """Where a session stands."""

    AWAY = "away"
    CONNECTING = "connecting"
    SUBSCRIBING = "subscribing"
    READY = "ready"


class Session:
    """A persistent session with a stable client id, which connects and subscribes again whenever it must.

    Args:
        errands: Where it connects: a name server, TCP and TLS may take their time.
        forgotten: Given client id and filters, calls back with those that an earlier release of the application left
            behind, when it knows them.

    Attributes:
        state: READY when every subscription was answered.
        granted: Topic filters that the broker serves.
        unsubscribed: Every UNSUBACK that was waited for has come.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        client_id: str,
        subscriptions: Subscriptions,
        intake: Intake,
        errands: Errands,
        forgotten: Callable[[str, Collection[str], Callable[[Collection[str]], None]], None],
    ) -> None:
        self.client_id = client_id
        self.subscriptions = subscriptions
        self.state = State.AWAY
        self.connection: BrokerConnection | None = None
        self.granted: dict[str, Subscription] = {}
        self._settings, self._intake, self._errands, self._forgotten = settings, intake, errands, forgotten
        self._opening: BrokerConnection | None = None
        self._asked: dict[int, Subscription] = {}
        self._refused: list[Subscription] = []
        self._leaving: set[int] = set()
        self._retry_at = self._connected_at = self._deadline = self._ask_again_at = 0.0
        self._setbacks = 0
        self._answered = self._switching = self._was_ready = False
        self._ended_by = ""
        self._choice = ProtocolChoice(settings.mqtt_protocol)
        if self._choice.older:
            subscriptions.refuse_overlaps(because="MQTT_PROTOCOL is 3.1.1")

    @property
    def protocol(self) -> str:
        """Name of the protocol's version that is spoken or tried."""
        return self._choice.name

    @property
    def unsubscribed(self) -> bool:
        """Whether no UNSUBACK is waited for."""
        return not self._leaving

    def trouble(self, now: float) -> str | None:
        """Return why no messages come, None while they may; safe from other threads."""
        connection = self.connection
        if self.state is not State.READY or connection is None:
            return f"the mqtt session {self.client_id} is {self.state.value}{self._ended_by and ': '}{self._ended_by}"
        if now - connection.heard_at > _SILENT_S:
            return f"the mqtt broker has not answered for {now - connection.heard_at:.0f} s"
        return None

    def tend(self, *, reading: bool) -> None:
        """Connect when it is time, keep the connection alive, and notice its end."""
        now = time.monotonic()
        connection = self.connection
        if connection is None:
            if self._opening is None and now >= self._retry_at:
                self._connect()
            return
        if connection.socket() is not None:
            connection.tend(reading=reading)
        if self.state is State.CONNECTING and now > self._deadline and connection.socket() is not None:
            self._ended_by = f"no CONNACK within {_CONNECT_TIMEOUT_S:.0f} s"
            connection.abandon()
        if connection.socket() is None:
            self._lost(now)
        elif self._refused and now >= self._ask_again_at:
            again, self._refused = self._refused, []
            self._subscribe(connection, again)

    def close(self, *, end_session: bool = False) -> None:
        """Say DISCONNECT and go; with `end_session` the broker forgets the session."""
        connection, self.connection, self._opening = self.connection, None, None
        if connection is not None and connection.socket() is not None:
            if end_session and connection.is_mqtt5:
                connection.disconnect(properties=properties(PacketTypes.DISCONNECT, SessionExpiryInterval=0))
            else:
                connection.disconnect()
            connection.flush(timeout_s=2.0)
            if end_session and not connection.is_mqtt5:
                self._begin_clean_session()
        self.state = State.AWAY
        self.granted.clear()
        self._retry_at = 0.0

    def unsubscribe_all(self) -> None:
        """Ask for no more messages; what is on its way still comes."""
        if self.connection is not None:
            self._unsubscribe(self.connection, [subscription.filter for subscription in self.subscriptions.all])

    def _begin_clean_session(self) -> None:
        """End the session on MQTT 3.1.1, which knows no other way."""
        wiper = BrokerConnection(client_id=self.client_id, protocol=MQTTProtocolVersion.MQTTv311, clean_session=True)
        wiper.connect_timeout = _CONNECT_TIMEOUT_S
        try:
            prepare_mqtt(wiper, self._settings)
            wiper.connect(self._settings.mqtt_broker, self._settings.mqtt_port)
            wiper.wait_connected(timeout_s=_CONNECT_TIMEOUT_S)
            wiper.disconnect()
            wiper.flush(timeout_s=2.0)
        except OSError as exc:
            logger.error("mqtt session not ended, the broker keeps it client_id=%s: %s", self.client_id, exc)

    def _connect(self) -> None:
        self._ended_by = ""
        self._answered = False
        connection = BrokerConnection(client_id=self.client_id, protocol=self._choice.version)
        connection.connect_timeout = _CONNECT_TIMEOUT_S
        connection.on_publish_packet = partial(self._intake.accept, connection)
        connection.on_connect = self._on_connect
        connection.on_disconnect = self._on_disconnect
        connection.on_subscribe = self._on_subscribe
        connection.on_unsubscribe = self._on_unsubscribe
        self._opening, self.state = connection, State.CONNECTING
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
        settings, was_connected = self._settings, self.state in (State.SUBSCRIBING, State.READY)
        unanswered = self.connection is not None and not self._answered
        self.connection, self.state = None, State.AWAY
        self.granted.clear()
        self._asked.clear()
        self._refused.clear()
        self._leaving.clear()
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
        why = self._ended_by or (hung_up(settings) if unanswered else "connection closed")
        if unanswered and settings.mqtt_protocol == "auto" and self.subscriptions.overlap:
            why += "; two routes overlap, so MQTT 3.1.1 is not tried"
        logger.error(
            "mqtt connection %s broker=%s:%d client_id=%s: %s; next try in %.1f s",
            "lost" if was_connected else "failed", settings.mqtt_broker, settings.mqtt_port, self.client_id,
            why, delay_s,
        )  # fmt: skip
        # Not with routes that overlap: one CONNECT of 3.1.1, and Mosquitto keeps one copy where both want theirs.
        if unanswered and not self.subscriptions.overlap and self._choice.unanswered():
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
        logger.info(
            "mqtt connected broker=%s:%d client_id=%s protocol=%s session=%s",
            self._settings.mqtt_broker, self._settings.mqtt_port, self.client_id, self.protocol,
            "resumed" if flags.session_present else "new",
        )  # fmt: skip
        wanted = [subscription.filter for subscription in self.subscriptions.all]
        # SUBSCRIBE again also in a session that was resumed: some brokers restore a shared subscription only then.
        self._subscribe(connection, self.subscriptions.all)
        self._forgotten(self.client_id, wanted, partial(self._leave, connection, resumed=flags.session_present))

    def _refuse_overlaps(self, *, because: str) -> bool:
        """Return whether routes overlap, so that this connection is of no use.

        Raises:
            RouteError: They do, and were never served: a mistake of the configuration. A broker that could tell them
                apart before may do so again, and keeps our messages so long.
        """
        try:
            self.subscriptions.refuse_overlaps(because=because)
        except RouteError as exc:
            if not self._was_ready:
                raise
            self._ended_by = str(exc)
            return True
        return False

    def _on_disconnect(
        self, _connection: Any, _: Any, flags: DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        if self._ended_by:
            return
        if flags.is_disconnect_packet_from_server:
            self._ended_by = f"the broker says: {reason}{disconnect_mend(reason, self.client_id)}"
        elif self.state is not State.CONNECTING:
            # Paho's word for a connection that just ended.
            self._ended_by = "the connection broke" if reason.value == 0x80 else f"{reason}"
            if self._setbacks >= _QUICK_LOSSES and time.monotonic() - self._connected_at < _STEADY_S:
                self._ended_by += f" again; if it goes on, see whether another process connects as {self.client_id!r}"

    def _subscribe(self, connection: BrokerConnection, subscriptions: Collection[Subscription]) -> None:
        self.state = State.SUBSCRIBING
        for subscription in subscriptions:
            if connection.is_mqtt5:
                number = None
                if self._intake.by_number:
                    number = properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=subscription.identifier)
                # Retained messages only for a subscription that is new: each reconnect would bring them again.
                options = SubscribeOptions(qos=subscription.route.qos, retainHandling=1)
                _, mid = connection.subscribe(subscription.filter, options=options, properties=number)
            else:
                _, mid = connection.subscribe(subscription.filter, subscription.route.qos)
            if mid is not None:
                self._asked[mid] = subscription

    def _on_subscribe(self, _connection: Any, _: Any, mid: int, codes: list[ReasonCode], _properties: Any) -> None:
        subscription = self._asked.pop(mid, None)
        if subscription is None:
            return
        code, route = codes[0], subscription.route
        context = {"route": route.name}
        if code.is_failure:
            self._refused.append(subscription)
            self._ask_again_at = time.monotonic() + _ASK_AGAIN_S
            logger.error(
                "SUBSCRIPTION REFUSED, the route gets no messages filter=%s route=%s: %s%s; asking again in %.0f s",
                subscription.filter, route.name, code, subscribe_mend(code), _ASK_AGAIN_S, extra=context,
            )  # fmt: skip
        else:
            self.granted[subscription.filter] = subscription
            if code.value < route.qos:
                logger.error(
                    "QOS LOWERED, messages of the route can be lost filter=%s route=%s asked=%d granted=%d: allow this "
                    "QoS in the broker's configuration, or set qos=%d on the route",
                    subscription.filter, route.name, route.qos, code.value, code.value, extra=context,
                )  # fmt: skip
            logger.info(
                "subscribed filter=%s qos=%d route=%s queue=%s",
                subscription.filter, code.value, route.name, route.queue, extra=context,
            )  # fmt: skip
        if not self._asked:
            self.state, self._was_ready = State.READY, True

    def _leave(self, connection: BrokerConnection, stale: Collection[str], *, resumed: bool) -> None:
        if stale and resumed and connection is self.connection:
            logger.info("leaving what no route subscribes to any more filters=%s", ", ".join(sorted(stale)))
            self._unsubscribe(connection, sorted(stale))

    def _unsubscribe(self, connection: BrokerConnection, filters: list[str]) -> None:
        for topic_filter in filters:
            _, mid = connection.unsubscribe(topic_filter)
            if mid is not None:
                self._leaving.add(mid)

    def _on_unsubscribe(self, _connection: Any, _: Any, mid: int, _codes: Any, _properties: Any) -> None:
        self._leaving.discard(mid)
