"""What the broker answers to each packet of one client."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from dataclasses import replace

from paho.mqtt.packettypes import PacketTypes

from routemq_dev.broker import packet_decoding, packet_encoding
from routemq_dev.broker.broker import Broker
from routemq_dev.broker.control_packets import MQTT_5, MQTT_311, ApplicationMessage, Connect
from routemq_dev.broker.errors import ProtocolError, Reason
from routemq_dev.broker.packet_protocol import PacketProtocol
from routemq_dev.broker.properties import encode_properties
from routemq_dev.broker.session_state import QueueFullError, Sending, SessionState

RECEIVE_MAXIMUM = 10_000
"""QoS 1 and 2 publishes of one client that may wait for their PUBACK or PUBREC because some session's queue is full."""

_PUBACK, _PUBREC, _PUBREL, _PUBCOMP = 0x40, 0x50, 0x60, 0x70

_RETURN_CODES_311 = {Reason.UNSUPPORTED_PROTOCOL_VERSION: 1, Reason.CLIENT_IDENTIFIER_NOT_VALID: 2}

logger = logging.getLogger(__name__)


class Conversation:
    """The protocol side of a connection: from CONNECT, through a session, to the end."""

    def __init__(self, broker: Broker, connection: PacketProtocol) -> None:
        self.connection = connection
        self.receive_maximum = 0
        self._broker = broker
        self._loop = asyncio.get_running_loop()
        self._version = MQTT_311
        self._connect: Connect | None = None
        self._session: SessionState | None = None
        self._held: deque[tuple[int, int, ApplicationMessage]] = deque()
        self._held_by: SessionState | None = None

    def __repr__(self) -> str:
        return repr(self._connect.client_id) if self._connect else f"unknown at {self.connection.peer}"

    @property
    def connected(self) -> bool:
        """Whether its CONNECT was accepted."""
        return self._session is not None

    @property
    def writable(self) -> bool:
        """Whether another message may be sent now."""
        return self.connection.writable

    def arrived(self) -> None:
        """The network connection is there; nothing is known of the client yet."""
        self._broker.arrived(self)

    def handle(self, first: int, body: bytes) -> None:
        """Act upon one packet.

        Raises:
            ProtocolError: The packet cannot be accepted; `refuse` ends the connection.
        """
        session = self._session
        kind = first & 0xF0
        if kind != 0x30 and first & 0x0F != (2 if kind in (_PUBREL, 0x80, 0xA0) else 0):
            raise packet_decoding.malformed(f"the fixed header 0x{first:02x}")
        if session is None:
            self._on_connect(body)
        elif kind == 0x30:
            packet_id, message = packet_decoding.decode_publish(first, body, self._version, self._loop.time())
            self._on_publish(session, _PUBREC if first & 0x04 else _PUBACK, packet_id, message)
        elif kind == _PUBACK:
            session.acknowledge(packet_decoding.decode_packet_id(body))
        elif kind == _PUBREL:
            self._on_pubrel(session, packet_decoding.decode_packet_id(body))
        elif kind == 0x80:
            self._on_subscribe(session, body)
        elif kind == 0xA0:
            packet_id, filters = packet_decoding.decode_unsubscribe(body, self._version)
            codes = self._broker.unsubscribe(session, filters)
            self.connection.send(packet_encoding.encode_unsuback(packet_id, codes, self._version))
        elif kind == 0xC0:
            self.connection.send(packet_encoding.PINGRESP)
        elif kind == 0xE0:
            self._on_disconnect(session, body)
        else:
            raise ProtocolError(reason=Reason.PROTOCOL_ERROR, problem=f"a packet of type {kind >> 4}")

    def send_message(self, delivery: Sending, *, dup: bool) -> bool:
        """Send a PUBLISH; False when this client cannot have it: it is expired, or larger than the client allows."""
        connect, message = self._connect, delivery.message
        now_s = self._loop.time()
        if connect is None or (message.expires_at_s is not None and now_s >= message.expires_at_s and not dup):
            return False
        data = packet_encoding.encode_publish(
            message,
            packet_id=delivery.packet_id,
            dup=dup,
            retain=delivery.retain,
            identifier=delivery.subscription.identifier,
            version=self._version,
            now_s=now_s,
        )
        if len(data) > connect.max_packet_bytes:
            # As if it had been delivered (MQTT 5, 3.1.2.11.4).
            logger.warning("message discarded, larger than its receiver allows client=%s bytes=%d", self, len(data))
            return False
        self.connection.send(data)
        return True

    def writable_again(self) -> None:
        """The socket takes more."""
        if self._session is not None:
            self._session.pump()

    def refuse(self, error: ProtocolError) -> None:
        """End the connection because of what the client did, and say so in the log."""
        logger.warning("connection closed client=%s: %s", self, error)
        if self._session is None:
            if self._version == MQTT_5:
                text = encode_properties(PacketTypes.CONNACK, {"ReasonString": error.problem})
                self.connection.send(packet_encoding.encode_connack(MQTT_5, False, error.reason, text))
            elif error.reason in _RETURN_CODES_311:
                self.connection.send(packet_encoding.encode_connack(MQTT_311, False, _RETURN_CODES_311[error.reason]))
        self.close(error.reason, error.problem)

    def close(self, reason: Reason, text: str) -> None:
        """End the connection from the broker's side; an MQTT 5 client is told why."""
        if self._session is not None and self._version == MQTT_5:
            told = text if self._connect is not None and self._connect.reason_strings else ""
            self.connection.send(packet_encoding.encode_disconnect(reason, told))
        self.connection.close()
        self._leave(publish_will=True)

    def lost(self, exc: Exception | None) -> None:
        """The network connection is gone, whoever ended it."""
        logger.debug("connection lost client=%s: %s", self, exc)
        self._broker.gone(self)
        self._leave(publish_will=True)

    def _on_connect(self, body: bytes) -> None:
        version = packet_decoding.protocol_version(body)
        if version is None:
            raise ProtocolError(reason=Reason.UNSUPPORTED_PROTOCOL_VERSION, problem="neither MQTT 3.1.1 nor MQTT 5")
        self._version = version
        connect = packet_decoding.decode_connect(body, self._loop.time())
        properties: dict[str, object] = {
            "ReceiveMaximum": RECEIVE_MAXIMUM,
            "MaximumPacketSize": packet_decoding.MAX_PACKET_BYTES,
        }
        if not connect.client_id:
            if version == MQTT_311 and not connect.clean_start:
                raise ProtocolError(
                    reason=Reason.CLIENT_IDENTIFIER_NOT_VALID, problem="no client id for a session that is to be kept"
                )
            connect = replace(connect, client_id=f"auto-{uuid.uuid4().hex}")
            properties["AssignedClientIdentifier"] = connect.client_id
        self._connect = connect
        self.receive_maximum = connect.receive_maximum
        session, present = self._broker.open_session(connect, self)
        self._session = session
        encoded = encode_properties(PacketTypes.CONNACK, properties) if version == MQTT_5 else b""
        self.connection.send(packet_encoding.encode_connack(version, present, Reason.SUCCESS, encoded))
        self.connection.expect_packets(1.5 * connect.keep_alive_s)
        logger.debug("client connected client=%s session_present=%s", self, present)
        session.pump()

    def _on_subscribe(self, session: SessionState, body: bytes) -> None:
        packet = packet_decoding.decode_subscribe(body, self._version)
        codes, retained = self._broker.subscribe(session, packet)
        self.connection.send(packet_encoding.encode_suback(packet.packet_id, codes, self._version))
        for message, subscription in retained:
            session.offer(message, subscription, retain=True)

    def _on_disconnect(self, session: SessionState, body: bytes) -> None:
        reason, expiry_s = packet_decoding.decode_disconnect(body, self._version)
        if expiry_s is not None:
            if expiry_s and not session.expiry_s:
                raise ProtocolError(reason=Reason.PROTOCOL_ERROR, problem="a session expiry, but none in the CONNECT")
            session.expiry_s = expiry_s
        self.connection.close()
        self._leave(publish_will=reason != Reason.SUCCESS)

    def _on_publish(self, session: SessionState, answer: int, packet_id: int, message: ApplicationMessage) -> None:
        if not packet_id:
            self._broker.publish(message, session.client_id)
            return
        if answer == _PUBREC and packet_id in session.received:
            self.connection.send(packet_encoding.encode_ack(_PUBREC, packet_id, Reason.SUCCESS))
            return
        # Behind one that waits all wait, so that the order stays; their acknowledgements and pings are still read.
        if self._held or not self._publish(session, answer, packet_id, message):
            self._held.append((answer, packet_id, message))
        if len(self._held) > RECEIVE_MAXIMUM:
            if self._version == MQTT_5:
                raise ProtocolError(
                    reason=Reason.RECEIVE_MAXIMUM_EXCEEDED, problem=f"more than {RECEIVE_MAXIMUM} publishes in flight"
                )
            if self._held_by is session:
                raise ProtocolError(reason=Reason.QUOTA_EXCEEDED, problem="the client waits for its own full queue")
            self.connection.pause_reading()

    def _on_pubrel(self, session: SessionState, packet_id: int) -> None:
        known = packet_id in session.received
        session.received.discard(packet_id)
        told = self._version == MQTT_5 and not known
        reason = Reason.PACKET_IDENTIFIER_NOT_FOUND if told else Reason.SUCCESS
        self.connection.send(packet_encoding.encode_ack(_PUBCOMP, packet_id, reason))

    def _publish(self, session: SessionState, answer: int, packet_id: int, message: ApplicationMessage) -> bool:
        """Publish and acknowledge; False when some session has no room and the message has to wait."""
        try:
            receivers = self._broker.publish(message, session.client_id)
        except QueueFullError as exc:
            if self._held_by is None:
                logger.warning("publisher held back client=%s: %s", self, exc)
            self._held_by = exc.session
            exc.session.call_when_room(self._publish_held)
            return False
        # Only now that every matching session has it.
        if answer == _PUBREC:
            session.received.add(packet_id)
        told = self._version == MQTT_5 and not receivers
        reason = Reason.NO_MATCHING_SUBSCRIBERS if told else Reason.SUCCESS
        self.connection.send(packet_encoding.encode_ack(answer, packet_id, reason))
        return True

    def _publish_held(self) -> None:
        session = self._session
        if session is None or self.connection.closed:
            return
        try:
            while self._held:
                if not self._publish(session, *self._held[0]):
                    return
                self._held.popleft()
        except ProtocolError as exc:
            self.refuse(exc)
            return
        self._held_by = None
        logger.info("publisher goes on client=%s", self)
        self.connection.resume_reading()

    def _leave(self, *, publish_will: bool) -> None:
        session, connect = self._session, self._connect
        if session is None or connect is None or session.client is not self:
            return
        if self._held:
            logger.warning("publishes never acknowledged are discarded client=%s count=%d", self, len(self._held))
            self._held.clear()
        self._broker.leave_session(session, connect.will if publish_will else None, connect.will_delay_s)
