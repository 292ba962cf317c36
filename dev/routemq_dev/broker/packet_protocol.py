"""One network connection: bytes in, cut into packets; bytes out, written together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, cast

from routemq.mqtt_wire import MalformedPacketError
from routemq_dev.broker.errors import ProtocolError, Reason
from routemq_dev.broker.packet_decoding import malformed, read_packet

CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0

WRITE_BUFFER_BYTES = 1024 * 1024
"""With so much unsent, messages wait in the session's queue instead."""

MAX_UNSENT_BYTES = 64 * 1024 * 1024
"""A client that sends requests and never reads the answers is disconnected here."""

logger = logging.getLogger(__name__)


class PacketHandler(Protocol):
    """What a connection tells of: the protocol side of a client."""

    @property
    def connected(self) -> bool:
        """Whether a CONNECT was accepted."""

    def arrived(self) -> None:
        """It is there."""

    def handle(self, first: int, body: bytes) -> None:
        """A packet has come; may raise ProtocolError."""

    def writable_again(self) -> None:
        """It takes more."""

    def refuse(self, error: ProtocolError) -> None:
        """The client has done what it may not."""

    def lost(self, exc: Exception | None) -> None:
        """It is gone, whoever ended it."""


class PacketProtocol(asyncio.Protocol):
    """The transport side of a client.

    Args:
        make_handler: Returns who is told of this connection.

    Attributes:
        writable: Whether another message may be sent now.
        closed: Whether this side has ended the connection.
    """

    def __init__(self, make_handler: Callable[[PacketProtocol], PacketHandler]) -> None:
        self.writable = True
        self.closed = False
        self.peer = ""
        self._client = make_handler(self)
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._transport_full = False
        self._reading = True
        self._heard_at_s = self._loop.time()
        self._alive_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self.peer = str(self._transport.get_extra_info("peername"))
        self._client.arrived()
        self.expect_packets(CONNECT_TIMEOUT_S)

    def data_received(self, data: bytes) -> None:
        self._heard_at_s = self._loop.time()
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            # Looked at before the packet is complete: what is no MQTT may never become a packet.
            if not self._client.connected and buffer[0] != 0x10:
                raise malformed("the first packet is not a CONNECT")
            while not self.closed and at < len(buffer):
                packet = read_packet(buffer, at)
                if packet is None:
                    break
                first, body, at = packet
                self._client.handle(first, body)
        except MalformedPacketError as exc:
            self._client.refuse(malformed(exc.problem))
        except ProtocolError as exc:
            self._client.refuse(exc)
        del buffer[:at]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._stop_timer()
        self._client.lost(exc)

    def pause_writing(self) -> None:
        self._transport_full = True
        self.writable = False

    def resume_writing(self) -> None:
        self._transport_full = False
        self.writable = True
        self._client.writable_again()

    def send(self, data: bytes) -> None:
        """Send with whatever else comes up before the event loop turns."""
        if self.closed:
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)
        self._out_bytes += len(data)
        if self._out_bytes >= WRITE_BUFFER_BYTES:
            self.writable = False

    def close(self) -> None:
        """Send what is left and close."""
        if self.closed:
            return
        self._write()
        self.closed = True
        self._stop_timer()
        self._transport.close()
        # A client that reads nothing would keep the socket for ever.
        self._loop.call_later(CLOSE_TIMEOUT_S, self._transport.abort)

    def expect_packets(self, every_s: float) -> None:
        """End the connection when nothing was received for so long; 0 means never."""
        self._stop_timer()
        if every_s:
            self._alive_timer = self._loop.call_later(every_s, self._check_alive, every_s)

    def pause_reading(self) -> None:
        """Let TCP hold the client back."""
        if self._reading and not self.closed:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again after `pause_reading`."""
        if not self._reading and not self.closed:
            self._reading = True
            self._transport.resume_reading()

    def _flush(self) -> None:
        if self.closed:
            return
        self._write()
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            logger.warning("connection aborted client=%s: it does not read what is sent to it", self._client)
            self._transport.abort()
        elif not self._transport_full:
            self.writable = True
            self._client.writable_again()

    def _write(self) -> None:
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._out_bytes = 0
            self._transport.write(data)

    def _check_alive(self, every_s: float) -> None:
        idle_s = self._loop.time() - self._heard_at_s if self._reading else 0.0
        if idle_s >= every_s:
            self._client.refuse(
                ProtocolError(reason=Reason.KEEP_ALIVE_TIMEOUT, problem=f"nothing received for {idle_s:.1f} s")
            )
        else:
            self._alive_timer = self._loop.call_later(every_s - idle_s, self._check_alive, every_s)

    def _stop_timer(self) -> None:
        if self._alive_timer is not None:
            self._alive_timer.cancel()
            self._alive_timer = None
