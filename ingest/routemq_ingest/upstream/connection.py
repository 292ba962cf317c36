"""One connection to the MQTT broker: paho's client, with what an external loop at full speed needs."""

import logging
import select
import ssl
import struct
import time
from collections.abc import Callable, Sequence

from paho.mqtt import MQTTException
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties

from routemq.mqtt_wire import CutShortError, MalformedPacketError, read_variable
from routemq.upstream.mqtt_client import MqttClient
from routemq_ingest.packets import Publish, decode_publish

logger = logging.getLogger(__name__)

_READ_BYTES = 65_536
_HUNG_UP: int | None = getattr(select, "POLLRDHUP", None)
"""Linux alone tells it without reading; elsewhere the next ping finds out."""
_PUBLISH, _PUBACK, _PUBREC, _PUBREL, _PUBCOMP, _PINGRESP = 0x30, 0x40, 0x50, 0x60, 0x70, 0xD0
_PING_AFTER_S = 4.0


class BrokerConnection(MqttClient):
    """Driven by one thread through `read`, `loop_write` and `tend`; never used for a second connection.

    A message carries the connection it came on, so that its PUBACK cannot go out on a later one, where the same packet
    identifier may name another message.

    Paho reads the socket byte by byte, makes an object per property and sends each PUBACK by itself. Here 64 KiB are
    read at a time, PUBLISH is decoded in place, a batch's PUBACKs go out at once; every other packet is paho's.

    Attributes:
        on_publish_packet: Called with each PUBLISH; returns whether there is room for another one.
        has_more: Something may be left to read, here, in the TLS layer or in the socket.
        heard_at: When the broker last sent anything, on the monotonic clock.
        published: How many PUBLISH packets have come.
        owed: How many of them wait for their PUBACK.
        pongs: How many PINGs were answered.
        broken_by: What the socket or its TLS layer said when it broke.
    """

    def __init__(self, *, client_id: str, protocol: MQTTProtocolVersion, clean_session: bool = False) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=protocol,
            clean_session=None if protocol == MQTTProtocolVersion.MQTTv5 else clean_session,
            manual_ack=True,
            # Paho would otherwise answer a refused 3.1.1 by connecting with 3.1 from inside a read.
            reconnect_on_failure=False,
        )
        self.on_publish_packet: Callable[[Publish], bool] | None = None
        self.has_more = False
        self.heard_at = time.monotonic()
        self.published = self.owed = self.pongs = self._pings = 0
        self.broken_by = ""
        self._received: set[int] = set()
        self._data = b""
        self._at = 0
        self._chunks: list[bytes] = []
        self._missing = 0

    def fileno(self) -> int:
        """The socket's number, so that a connection itself can be given to `select`; -1 when it has ended."""
        return -1 if self._sock is None else self._sock.fileno()

    @property
    def is_mqtt5(self) -> bool:
        """Whether this connection speaks MQTT 5."""
        return self.protocol == MQTTProtocolVersion.MQTTv5

    def read(self) -> None:
        """Handle all packets that have arrived, as long as there is room."""
        self.has_more = True
        try:
            while self._handle_packets() and self._receive():
                pass
        except MalformedPacketError as exc:
            logger.error("mqtt broker broke the protocol: %s", exc)
            self._break(MQTTErrorCode.MQTT_ERR_PROTOCOL)

    def acknowledge(self, mids: Sequence[int]) -> None:
        """Send PUBACK for each of these packet identifiers, in their order (MQTT 5, 4.6); nothing when it has ended."""
        if self._sock is None:
            return
        self.owed -= len(mids)
        packets = b"".join(struct.pack("!BBH", self._answer(mid), 2, mid) for mid in mids)
        self._packet_queue(_PUBACK, packets, 0, 0)

    def _answer(self, mid: int) -> int:
        if mid not in self._received:
            return _PUBACK
        self._received.remove(mid)
        return _PUBREC

    def ping(self) -> int:
        """Send a PING; `pongs` is this number, or more, when it was answered."""
        self._send_pingreq()
        return self._pings

    def tend(self, *, reading: bool) -> None:
        """Ping when it is time, and soon when nothing is heard: whether the broker is there must be known.

        While we do not read, the broker's answer waits unread, so none is expected.
        """
        if reading:
            self.loop_misc()
            if self.is_connected() and self._ping_t == 0 and time.monotonic() - self.heard_at >= _PING_AFTER_S:
                self._send_pingreq()
        elif self._hung_up():
            self._break(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        elif self._sock is not None and time.monotonic() - self._last_msg_out >= self.keepalive / 2:
            self._send_pingreq()
            self._ping_t = 0.0
            self._last_bytes_received = time.monotonic()

    def _hung_up(self) -> bool:
        """Whether the broker has closed its side, which reading would tell if we read."""
        if self._sock is None or _HUNG_UP is None:
            return False
        poll = select.poll()
        poll.register(self._sock.fileno(), _HUNG_UP)
        return bool(poll.poll(0))

    def flush(self, *, timeout_s: float) -> None:
        """Write what is left to write, as far as the broker takes it in this time, and close."""
        deadline = time.monotonic() + timeout_s
        while self._sock is not None and self.want_write() and time.monotonic() < deadline:
            self._wait(select.POLLOUT, until=deadline)
            self.loop_write()
        self.abandon()

    def abandon(self) -> None:
        """Close without a word."""
        self._sock_close()

    def wait_connected(self, *, timeout_s: float) -> None:
        """Wait for the CONNACK.

        Raises:
            ConnectionError: It did not come.
        """
        deadline = time.monotonic() + timeout_s
        while self._sock is not None and not self.is_connected() and time.monotonic() < deadline:
            self._wait(select.POLLIN, until=deadline)
            self.read()
        if not self.is_connected():
            raise ConnectionError("no CONNACK")

    def _wait(self, events: int, *, until: float) -> None:
        poll = select.poll()
        poll.register(self, events)
        poll.poll(max(0.0, until - time.monotonic()) * 1000)

    def _receive(self) -> bool:
        """Take what the socket has; False when that is nothing."""
        if self._sock is None:
            self.has_more = False
            return False
        try:
            chunk = self._sock.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self.has_more = False
            return False
        except OSError as exc:
            self.broken_by = f"{type(exc).__name__}: {exc}"
            logger.debug("mqtt connection broke while reading: %s", exc)
            chunk = b""
        if not chunk:
            self._break(MQTTErrorCode.MQTT_ERR_CONN_LOST)
            return False
        self.heard_at = self._last_bytes_received = time.monotonic()
        self._chunks.append(chunk)
        self._missing -= len(chunk)
        if self._missing <= 0:
            # A large packet is put together once, when all of it is there.
            self._data = b"".join((self._data[self._at :], *self._chunks))
            self._at, self._missing = 0, 0
            self._chunks.clear()
        return True

    def _handle_packets(self) -> bool:
        """Handle the whole packets that are here; False when there is no room for more, or no connection."""
        if self._chunks:
            return self._sock is not None
        data, at, size = self._data, self._at, len(self._data)
        mqtt5, room = self.is_mqtt5, True
        on_publish = self.on_publish_packet
        while room and at + 1 < size:
            start, length = at + 2, data[at + 1]
            if length > 127:
                try:
                    length, start = read_variable(data, at + 1)
                except CutShortError:
                    break
            end = start + length
            if end > size:
                self._missing = end - size
                break
            header, at = data[at], end
            self._at = at
            if header & 0xF0 != _PUBLISH or on_publish is None:
                room = self._hand_to_paho(header, data[start:end])
                continue
            self.published += 1
            if header & 0x06:
                self.owed += 1
            publish = decode_publish(header, data, start, end, mqtt5=mqtt5)
            if header & 0x04:
                # Nobody here asks for QoS 2; who had the session before may have.
                self._received.add(publish.mid)
                publish = publish._replace(qos=1)
            room = on_publish(publish)
        return room

    def _send_pingreq(self) -> MQTTErrorCode:
        self._pings += 1
        return super()._send_pingreq()

    def _hand_to_paho(self, header: int, packet: bytes) -> bool:
        if header == _PINGRESP:
            self.pongs += 1
        self._in_packet["command"] = header
        self._in_packet["packet"] = bytearray(packet)
        self._in_packet["remaining_length"] = len(packet)
        self._in_packet["pos"] = 0
        try:
            code = self._packet_handle()
            if not code and header & 0xF0 == _PUBREL:
                # Who acknowledges by hand gets no answer to it from paho, and the broker keeps the place taken.
                self._packet_queue(_PUBCOMP, struct.pack("!BB", _PUBCOMP, 2) + packet[:2], 0, 0)
        except (MQTTException, ValueError, KeyError, IndexError, struct.error) as exc:
            logger.error("mqtt broker broke the protocol: %s: %s", type(exc).__name__, exc)
            code = MQTTErrorCode.MQTT_ERR_PROTOCOL
        self._break(code)
        return self._sock is not None

    def _break(self, code: MQTTErrorCode) -> None:
        if code:
            self._loop_rc_handle(code)
        if self._sock is None:
            self.has_more = False


def properties(packet_type: int, **values: int) -> Properties:
    """Return MQTT 5 properties by paho's names, such as `ReceiveMaximum`."""
    made = Properties(packet_type)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(made, name, value)
    return made
