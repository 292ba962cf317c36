"""One MQTT session: its connections one after the other, and its subscriptions on each of them.

All steps between its states are in this file, longer than others, because they are read together; but for the last,
which ends it (`ending.py`). What they ask is apart, and knows no socket: when to connect (`reconnection.py`), in which
version of MQTT (`routemq/mqtt.py`), whether two routes overlap (`overlaps.py`), what to subscribe to (`filters.py`).
"""

import enum
import logging
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

from paho.mqtt.client import ConnectFlags, DisconnectFlags
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from routemq.errors import RouteMQError
from routemq.mqtt import ProtocolChoice, connect_problem, hung_up
from routemq.settings import Settings
from routemq_ingest.ending import Ending
from routemq_ingest.errands import Errands
from routemq_ingest.filters import Filters
from routemq_ingest.memory import SessionMemory
from routemq_ingest.opening import CONNECT_TIMEOUT_S, close_connection, open_connection, shorter_expiry
from routemq_ingest.overlaps import Overlaps, overlap_error
from routemq_ingest.packets import Publish
from routemq_ingest.reasons import connect_mend, disconnect_mend
from routemq_ingest.reception import Reception
from routemq_ingest.reconnection import Reconnection
from routemq_ingest.sharing import Sharing
from routemq_ingest.upstream.connection import BrokerConnection

logger = logging.getLogger(__name__)

_SILENT_S = 10.0
"""A broker that has nothing to say is pinged long before."""


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
        cannot_have_all: Shared and non-shared routes overlap, and the broker does not number their messages.
    """

    def __init__(
        self, settings: Settings, *, client_id: str, reception: Reception, memory: SessionMemory, errands: Errands
    ) -> None:
        self.client_id = client_id
        self.filters = Filters(client_id, memory=memory, reception=reception)
        self.connection: BrokerConnection | None = None
        self._settings, self._reception, self._errands = settings, reception, errands
        self._opening: BrokerConnection | None = None
        self._is_up = False
        self._deadline = 0.0
        self._switching = self._was_ready = self._was_new = False
        self._ended_by = ""
        self.cannot_have_all = False
        self._kept_s = settings.mqtt_session_expiry_s
        self._reconnection = Reconnection()
        self._sharing = Sharing(settings, client_id=client_id)
        self._choice = ProtocolChoice(settings.mqtt_protocol)
        self._overlaps = Overlaps()
        self._ending = Ending(settings, client_id, errands, close=self.close, ended=self.filters.ended)

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
        return (
            self.filters.all_left
            and self.connection is None
            and self._opening is None
            and not self._ending.is_under_way
        )

    @property
    def cannot_share(self) -> bool:
        """Whether the broker has no shared subscriptions."""
        return self._sharing.is_impossible

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
            busy = self._opening is not None or self._ending.is_under_way
            if due and not busy and self._reconnection.is_due(now):
                self._connect()
            return
        if connection.socket() is not None:
            connection.tend(reading=reading)
        if not self._is_up and now > self._deadline and connection.socket() is not None:
            self._ended_by = f"no CONNACK within {CONNECT_TIMEOUT_S:.0f} s"
            connection.abandon()
        if connection.socket() is None:
            self._lost(now)
        elif self.state is State.READY:
            self._was_ready = True
            if self.filters.no_sharing:
                self._sharing.decide(possible=False)
            self._sharing.try_out(connection, now, wanted=self._shares)
            if self.filters.all_left:
                self._ending.tend(connection, now)
            else:
                self._ending.put_off()

    @property
    def _shares(self) -> bool:
        return any(subscription.shared for subscription in self.filters.wanted)

    @property
    def _sharing_trouble(self) -> str | None:
        connection = self.connection
        return self._sharing.trouble(connection) if connection is not None and self._shares else None

    def _accept(self, connection: BrokerConnection, publish: Publish) -> bool:
        """Take a message over MQTT 3.1.1, where one may be a probe's."""
        return self._sharing.takes(connection, publish) or self._reception.accept(connection, publish)

    def close(self) -> None:
        """Say DISCONNECT and go; the broker keeps the session."""
        connection, self.connection, self._opening = self.connection, None, None
        if connection is not None:
            close_connection(connection)
        self._is_up = False
        self.filters.lost()
        self._sharing.closed()
        self._reconnection.hurry()

    def _connect(self) -> None:
        if self._choice.older and self._settings.mqtt_protocol == "3.1.1":
            self._refuse_overlaps(because="MQTT_PROTOCOL is 3.1.1")
        self._ended_by = ""
        self._reconnection.tried()
        connection = BrokerConnection(client_id=self.client_id, protocol=self._choice.version)
        connection.connect_timeout = CONNECT_TIMEOUT_S
        accept = self._reception.accept if connection.is_mqtt5 else self._accept
        connection.on_publish_packet = partial(accept, connection)
        connection.on_connect = self._on_connect
        connection.on_disconnect = self._on_disconnect
        connection.on_subscribe = self.filters.on_subscribe
        connection.on_unsubscribe = self.filters.on_unsubscribe
        self._opening = connection
        self._errands.ask(partial(self._open, connection), then=partial(self._opened, connection))

    def _open(self, connection: BrokerConnection) -> None:
        open_connection(connection, self._settings)
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
            self.connection, self._deadline = connection, now + CONNECT_TIMEOUT_S

    def _lost(self, now: float) -> None:
        settings, was_connected = self._settings, self._is_up
        unanswered = self.connection is not None and not self._reconnection.is_answered
        told = f" ({self.connection.broken_by})" if self.connection is not None and self.connection.broken_by else ""
        self.connection, self._is_up = None, False
        self.filters.lost()
        self._sharing.lost()
        if was_connected:
            self._choice.ended()
            self._reconnection.ended(now)
        if self._switching:
            self._switching = False
            return
        delay_s = self._reconnection.put_off(now)
        why = self._ended_by or (f"{hung_up(settings)}{told}" if unanswered else "connection closed")
        if unanswered and settings.mqtt_protocol == "auto" and self._overlaps.of(self.filters.wanted):
            why += "; two routes overlap, so MQTT 3.1.1 is not tried"
        logger.error(
            "mqtt connection %s broker=%s:%d client_id=%s: %s; next try in %.1f s",
            "lost" if was_connected else "failed", settings.mqtt_broker, settings.mqtt_port, self.client_id,
            why, delay_s,
        )  # fmt: skip
        # Not with routes that overlap: one CONNECT of 3.1.1, and Mosquitto keeps one copy where both want theirs.
        if unanswered and not self._overlaps.of(self.filters.wanted) and self._choice.unanswered():
            logger.warning("mqtt broker: no answer to CONNECT again and again; trying %s", self.protocol)

    def _on_connect(
        self, connection: Any, _: Any, flags: ConnectFlags, reason: ReasonCode, connack: Properties | None
    ) -> None:
        self._reconnection.answered()
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
        self._reconnection.accepted(time.monotonic())
        by_number = connection.is_mqtt5 and getattr(connack, "SubscriptionIdentifierAvailable", 1) == 1
        if not by_number and self._refuse_overlaps(because=f"the mqtt broker is spoken to by {self.protocol}"):
            connection.abandon()
            return
        self._reception.by_number = by_number
        # What an earlier connection found, and could not make use of, is true still.
        resumed, self._was_new = not self._was_new, False
        logger.info(
            "mqtt connected broker=%s:%d client_id=%s protocol=%s session=%s",
            self._settings.mqtt_broker, self._settings.mqtt_port, self.client_id, self.protocol,
            "resumed" if resumed else "new",
        )  # fmt: skip
        self._kept_s = shorter_expiry(connack, self._settings, self.client_id, before_s=self._kept_s)
        if connection.is_mqtt5:
            self._sharing.told(available=getattr(connack, "SharedSubscriptionAvailable", 1) != 0)
        self._is_up = True
        may_share = not (connection.is_mqtt5 and self._sharing.is_impossible)
        self.filters.connected(connection, resumed=resumed, by_number=by_number, may_share=may_share)

    def _refuse_overlaps(self, *, because: str) -> bool:
        """Return whether routes overlap, so that this connection is of no use.

        Raises:
            RouteError: They do, and were never served: a mistake of the configuration. A broker that could tell them
                apart before may do so again, and keeps our messages so long.
        """
        pair = self._overlaps.of(self.filters.wanted)
        if pair is None:
            return False
        route, other = pair
        if route.shared != other.shared and self._settings.mqtt_share == "auto":
            self.cannot_have_all, self._ended_by = True, f"the routes {route.name!r} and {other.name!r} overlap"
            return True
        error = overlap_error(route, other, because=because)
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
            if self._reconnection.is_short_again(time.monotonic()):
                self._ended_by += f" again; if it goes on, see whether another process connects as {self.client_id!r}"
