"""One MQTT connection that publishes: paho's client, with what the broker says about each publish."""

import enum
import logging
import math
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from paho.mqtt import MQTTException
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from routemq.message import PublishProperties, Response
from routemq.mqtt import reason_text
from routemq.mqtt_wire import variable
from routemq.settings import Settings
from routemq.tracing.trace_context import TraceContext
from routemq.upstream.mqtt_client import MqttClient, prepare_mqtt

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
CLOSED = "the MQTT broker closed the connection"
_PUBACK, _PUBREC, _DISCONNECT = 0x40, 0x50, 0xE0
_FAILURE = 0x80
_UNSUPPORTED_VERSION = 0x84
_MOST_IN_FLIGHT = 200
_BLAMES_A_PUBLISH = frozenset((0x80, 0x81, 0x82, 0x83, 0x87, 0x90, 0x94, 0x95, 0x97, 0x99, 0x9A, 0x9B))
"""Codes of a DISCONNECT that can be the answer to a PUBLISH (MQTT 5, 3.14.2.1)."""


class Answer(enum.Enum):
    """What the broker says to a CONNECT."""

    NONE = "none"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    WRONG_VERSION = "wrong version"


class OutgoingConnection(MqttClient):
    """Driven by one thread, and never used for a second connection: what was in flight on it is its user's to repeat.

    Paho takes a PUBACK for a success whatever its code, answers a refused PUBREC with PUBREL, keeps to no limit that
    the broker set in its CONNACK, and its own thread ends at a code that it does not know: so failures are read here,
    in `_packet_handle`, before paho does.

    Args:
        on_confirmed: Called with a packet identifier, and why the publish failed, None when it did not.
        on_answer: Called with the correlation data of an answer, and the answer.

    Attributes:
        answer: What the CONNECT was answered.
        window: How many publishes may be unconfirmed.
        problem: Why there is no connection, or none any more.
        blames_a_publish: Whether the broker ended the connection with a code that can be the answer to a publish; None
            when it gave no code.
        listening: Whether answers are heard; None while that is not known.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        client_id: str,
        protocol: MQTTProtocolVersion,
        on_confirmed: Callable[[int, str | None], None],
        on_answer: Callable[[bytes, Response], None],
    ) -> None:
        self._is_mqtt5 = protocol == MQTTProtocolVersion.MQTTv5
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=protocol,
            # The session ends with the connection: nobody would ever come back for it.
            clean_session=None if self._is_mqtt5 else True,
            # Paho would otherwise answer a refused 3.1.1 by connecting with 3.1.
            reconnect_on_failure=False,
        )
        self.answer = Answer.NONE
        self.blames_a_publish: bool | None = None
        self.window = _MOST_IN_FLIGHT
        self.problem = ""
        self.listening: bool | None = None
        self._on_confirmed, self._on_answer = on_confirmed, on_answer
        self._listens_to: str | None = None
        self._largest_bytes: int | None = None
        self._highest_qos, self._takes_retained = 2, True
        self.max_inflight_messages_set(0)
        self.connect_timeout = CONNECT_TIMEOUT_S
        self.on_connect = self._connected
        self.on_disconnect = self._disconnected
        self.on_subscribe, self.on_message = self._subscribed, self._received
        self.on_publish = lambda _client, _userdata, mid, _code, _properties: on_confirmed(mid, None)
        prepare_mqtt(self, settings)

    def properties_of(self, wanted: PublishProperties | None) -> Properties | None:
        """Return what MQTT 5 says beside a payload, as paho has it.

        Raises:
            ValueError: This broker is spoken to in MQTT 3.1.1, which has none.
        """
        if wanted is None:
            return None
        if not self._is_mqtt5:
            raise ValueError("the MQTT broker speaks 3.1.1 alone, which has no properties")
        return paho_properties(wanted)

    def refusal_of(
        self, topic: str, payload: bytes, *, qos: int, retain: bool, properties: Properties | None = None
    ) -> str | None:
        """Return why the broker would end the connection instead of taking this publish."""
        if qos > self._highest_qos:
            return f"the MQTT broker takes QoS {self._highest_qos} at most, not {qos}"
        if retain and not self._takes_retained:
            return "the MQTT broker keeps no retained messages"
        if self._largest_bytes is not None:
            size_bytes = _packet_bytes(topic, payload, qos, properties)
            if size_bytes > self._largest_bytes:
                return f"a packet of {size_bytes} bytes, and the MQTT broker takes {self._largest_bytes} at most"
        return None

    def properties_with(
        self, trace: TraceContext | None, properties: Properties | None, topic: str, payload: bytes, qos: int
    ) -> Properties | None:
        """Return a publish's properties, with what tells of a trace where it can take that along."""
        if trace is None or not self._is_mqtt5:
            return properties
        traced: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        vars(traced).update({} if properties is None else vars(properties))
        traced.UserProperty = [*getattr(traced, "UserProperty", ()), *trace.pairs().items()]
        if self._largest_bytes is not None and _packet_bytes(topic, payload, qos, traced) > self._largest_bytes:
            return properties
        return traced  # type: ignore[no-any-return]

    def hears(self, topic: str) -> bool:
        """Return whether what is published there would be heard; asks for it, the first time."""
        if not self._is_mqtt5:
            return True  # its publish is refused, with the reason
        if self._listens_to is None:
            self._listens_to = topic
            self.subscribe(topic, qos=1)
        return self.listening is True

    def turn(self, woken: socket.socket, *, timeout_s: float) -> None:
        """Write and read what the broker takes and gives; wait so long at most, or until `woken` can be read."""
        connection: Any = self.socket()
        pending = getattr(connection, "pending", None)
        if pending is not None and pending():
            timeout_s = 0.0  # what the TLS layer holds back never makes the socket readable
        wanted = {connection.fileno(): select.POLLIN | (select.POLLOUT if self.want_write() else 0)}
        ready = _wait(wanted | {woken.fileno(): select.POLLIN}, timeout_s=timeout_s)
        happened = ready.get(connection.fileno(), 0)
        if woken.fileno() in ready:
            woken.recv(4096)
        try:
            if happened & ~select.POLLOUT or timeout_s == 0.0:
                self.loop_read()
            if happened & select.POLLOUT:
                self.loop_write()
            self.loop_misc()
        except (MQTTException, ValueError, KeyError, IndexError, OSError) as exc:
            self.abandon(f"the MQTT broker broke the protocol: {type(exc).__name__}: {exc}")

    def abandon(self, problem: str) -> None:
        """Close without a word."""
        self.problem = self.problem or problem
        self._sock_close()

    def say_goodbye(self, *, timeout_s: float) -> None:
        """Write what is left to write, as far as the broker takes it in this time, and close."""
        self.disconnect()
        deadline = time.monotonic() + timeout_s
        while (connection := self.socket()) is not None and self.want_write() and time.monotonic() < deadline:
            _wait({connection.fileno(): select.POLLOUT}, timeout_s=max(0.0, deadline - time.monotonic()))
            self.loop_write()
        self._sock_close()

    def _packet_handle(self) -> MQTTErrorCode:
        kind, packet = self._in_packet["command"] & 0xF0, bytes(self._in_packet["packet"])
        if self._is_mqtt5 and kind in (_PUBACK, _PUBREC) and len(packet) > 2 and packet[2] >= _FAILURE:
            mid = int.from_bytes(packet[:2], "big")
            if self._out_messages.pop(mid, None) is not None:
                self._on_confirmed(mid, _told(PacketTypes.PUBACK, packet[2], packet[3:]))
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        if self._is_mqtt5 and kind == _DISCONNECT:
            code = packet[0] if packet else 0
            self.blames_a_publish = code in _BLAMES_A_PUBLISH
            self.abandon(_told(PacketTypes.DISCONNECT, code, packet[1:]))
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        return super()._packet_handle()

    def _connected(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, connack: Properties | None) -> None:
        if reason.is_failure:
            self.answer = Answer.WRONG_VERSION if reason.value == _UNSUPPORTED_VERSION else Answer.REFUSED
            self.problem = f"the MQTT broker refuses: {reason}"
            return
        self.answer = Answer.ACCEPTED
        self.window = min(_MOST_IN_FLIGHT, getattr(connack, "ReceiveMaximum", _MOST_IN_FLIGHT))
        self._largest_bytes = getattr(connack, "MaximumPacketSize", None)
        self._highest_qos = getattr(connack, "MaximumQoS", 2)
        self._takes_retained = bool(getattr(connack, "RetainAvailable", 1))

    def _subscribed(self, _client: Any, _userdata: Any, _mid: int, codes: Any, _properties: Any) -> None:
        self.listening = not any(code.is_failure for code in codes)

    def _received(self, _client: Any, _userdata: Any, message: Any) -> None:
        number = getattr(message.properties, "CorrelationData", None)
        if number is not None:
            content_type = getattr(message.properties, "ContentType", None)
            pairs = tuple(getattr(message.properties, "UserProperty", ()))
            response = Response(payload=message.payload, content_type=content_type, user_properties=pairs)
            self._on_answer(number, response)

    def _disconnected(self, _client: Any, _userdata: Any, _flags: Any, _reason: Any, _properties: Any) -> None:
        self.problem = self.problem or CLOSED


def paho_properties(wanted: PublishProperties) -> Properties:
    """Return what a publish says beside its payload, as paho has it."""
    found: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if wanted.response_topic is not None:
        found.ResponseTopic = wanted.response_topic
    if wanted.correlation_data is not None:
        found.CorrelationData = wanted.correlation_data
    if wanted.content_type is not None:
        found.ContentType = wanted.content_type
    if wanted.expiry_s is not None:
        found.MessageExpiryInterval = math.ceil(wanted.expiry_s)
    if wanted.user_properties:
        found.UserProperty = list(wanted.user_properties)
    return found  # type: ignore[no-any-return]


def own_properties(found: Properties | None) -> PublishProperties | None:
    """Return what a message says beside its payload; None when that is nothing."""
    told = PublishProperties(
        response_topic=getattr(found, "ResponseTopic", None),
        correlation_data=getattr(found, "CorrelationData", None),
        content_type=getattr(found, "ContentType", None),
        expiry_s=getattr(found, "MessageExpiryInterval", None),
        user_properties=tuple(getattr(found, "UserProperty", ())),
    )
    return None if told == PublishProperties() else told


def _wait(wanted: dict[int, int], *, timeout_s: float) -> dict[int, int]:
    """Wait until a socket, by its number, can do what is wanted of it; returns those that can, and what."""
    # `select` knows no number above 1023, and a process with many connections of its controllers has such.
    poll = select.poll()
    for number, events in wanted.items():
        poll.register(number, events)
    return dict(poll.poll(timeout_s * 1000))


def _packet_bytes(topic: str, payload: bytes, qos: int, properties: Properties | None) -> int:
    """Return the size of a PUBLISH of MQTT 5 (MQTT 5, 3.3)."""
    packed: Any = properties
    properties_bytes = 1 if packed is None else len(packed.pack())
    rest_bytes = 2 + len(topic.encode()) + (2 if qos else 0) + properties_bytes + len(payload)
    return 1 + len(variable(rest_bytes)) + rest_bytes


def _told(packet_type: int, code: int, data: bytes) -> str:
    """Return a code in words, with the broker's own."""
    text = reason_text(packet_type, code)
    properties: Any = Properties(packet_type)  # type: ignore[no-untyped-call]
    try:
        properties.unpack(data)
    except (MQTTException, ValueError, KeyError, IndexError):
        return text
    own = getattr(properties, "ReasonString", "")
    return f"{text} ({own})" if own else text
