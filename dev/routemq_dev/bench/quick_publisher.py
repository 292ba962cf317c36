"""A publisher that costs next to nothing, so that what is measured is not the publisher."""

import select
import socket
import struct
import time
from array import array
from collections.abc import Callable

from routemq.errors import RouteMQError
from routemq.mqtt_wire import binary, packet

TOPIC_TEMPLATE = "bench/{device_id}/data"
FIRST_NUMBER = 2_000_000
"""Numbers have seven digits, so that all payloads are 47 bytes; those before it are never published."""

_PUBLISH_QOS_1 = 0x32
_PUBACK = 0x40
_CONNACK = b"\x20\x02\x00\x00"
_UINT16 = struct.Struct("!H")
_UNCONFIRMED = 2000
_BURST = 100
_LONGEST_WAIT_S = 0.005
_ANSWER_TIMEOUT_S = 10.0


class PublishingFailedError(RouteMQError):
    """The MQTT broker of the bench does not do its part."""

    def __init__(self, *, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the bench's MQTT broker {problem}")


def payload_of(number: int) -> bytes:
    """Return the JSON that is published for a number."""
    return b'{"n": %d, "temperature": 21.5, "load": 40}' % number


class QuickPublisher:
    """One MQTT 3.1.1 connection that publishes consecutive numbers with QoS 1.

    A client of full value spends more on a message than all that is measured here.

    Attributes:
        published_at: When each number was sent, from FIRST_NUMBER on, on the monotonic clock.
        confirmed: How many of them the broker has acknowledged.
    """

    def __init__(self, host: str, port: int) -> None:
        self.published_at = array("d")
        self.confirmed = 0
        self._rest = b""
        self._socket = socket.create_connection((host, port), timeout=_ANSWER_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Clean session, no keep alive: the connection lasts as long as the bench.
        body = b"\x00\x04MQTT\x04\x02\x00\x00" + binary(b"routemq-bench")
        self._socket.sendall(packet(0x10, body))
        answer = self._socket.recv(4)
        if answer != _CONNACK:
            raise PublishingFailedError(problem=f"refuses the publisher: {answer.hex()}")

    @property
    def next_number(self) -> int:
        """The number that is published next."""
        return FIRST_NUMBER + len(self.published_at)

    def publish(
        self,
        count: int,
        *,
        for_s: float = float("inf"),
        rate_per_s: float | None = None,
        room: Callable[[], int] = lambda: _BURST,
        check: Callable[[], None],
    ) -> range:
        """Publish so many at most and return their numbers, when the broker has acknowledged all of them.

        Args:
            for_s: And no longer than this.
            rate_per_s: At an even pace; None is as fast as it goes.
            room: How many may be published now.
            check: Called often; may raise.

        Raises:
            PublishingFailedError: The broker closes the connection or stops answering.
        """
        first, began = self.next_number, time.monotonic()
        heard_at = began
        while (sent := self.next_number - first) < count or self.confirmed < len(self.published_at):
            check()
            now = time.monotonic()
            if now - began >= for_s:
                count = sent
            due = count if rate_per_s is None else min(count, int((now - began) * rate_per_s) + 1)
            unconfirmed = len(self.published_at) - self.confirmed
            burst = min(due - sent, _UNCONFIRMED - unconfirmed, _BURST)
            burst = min(burst, room()) if burst > 0 else 0
            wait_s = _LONGEST_WAIT_S
            if burst > 0:
                self._send(burst)
                wait_s = 0.0
            elif rate_per_s is not None and sent < count:
                wait_s = min(wait_s, max(0.0, began + sent / rate_per_s - now))
            if self._receive(wait_s) or not unconfirmed:
                heard_at = now
            elif now - heard_at > _ANSWER_TIMEOUT_S:
                raise PublishingFailedError(problem=f"acknowledged nothing for {_ANSWER_TIMEOUT_S:g} s")
        return range(first, self.next_number)

    def close(self) -> None:
        """Say DISCONNECT and go."""
        try:
            self._socket.sendall(b"\xe0\x00")
        except OSError:
            # The bench ends, and its broker may have ended first.
            return
        finally:
            self._socket.close()

    def _send(self, count: int) -> None:
        packets = []
        first = self.next_number
        for number in range(first, first + count):
            # A packet id is free again long before its turn comes anew: 2,000 are in use at most.
            body = binary(b"bench/d%d/data" % (number % 100)) + _UINT16.pack(number % 65_535 + 1) + payload_of(number)
            packets.append(packet(_PUBLISH_QOS_1, body))
        now = time.monotonic()
        self._socket.sendall(b"".join(packets))
        self.published_at.extend([now] * count)

    def _receive(self, wait_s: float) -> bool:
        poll = select.poll()  # select() knows no descriptor above 1023
        poll.register(self._socket, select.POLLIN)
        if not poll.poll(wait_s * 1000):
            return False
        data = self._socket.recv(65_536)
        if not data:
            raise PublishingFailedError(problem="has closed the publisher's connection")
        data = self._rest + data
        count = len(data) // 4
        if data[: count * 4 : 4].count(_PUBACK) != count:
            raise PublishingFailedError(problem="answers a PUBLISH with something else than a PUBACK")
        self._rest = data[count * 4 :]
        self.confirmed += count
        return True
