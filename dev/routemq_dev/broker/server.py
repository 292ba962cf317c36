"""Where the broker is reached: one address, of this machine alone."""

import asyncio
import ipaddress
import socket

from routemq_dev.broker.broker import Broker
from routemq_dev.broker.conversation import Conversation
from routemq_dev.broker.errors import NotLoopbackError
from routemq_dev.broker.packet_protocol import PacketProtocol


class Server:
    """An MQTT broker that listens."""

    def __init__(self) -> None:
        self._broker = Broker()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen, and return the address: port 0 takes a free one.

        Raises:
            NotLoopbackError: The host is not this machine alone.
            OSError: The port is taken, or the host has no address.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host or "localhost", port, type=socket.SOCK_STREAM)
        addresses = [str(info[4][0]) for info in sorted(found, key=lambda info: info[0] != socket.AF_INET)]
        if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
            raise NotLoopbackError(host=host)
        self._server = await loop.create_server(self._connection, addresses[0], port)
        bound_host, bound_port = self._server.sockets[0].getsockname()[:2]
        return bound_host, bound_port

    async def stop(self) -> None:
        """Listen no more, and let everyone go."""
        if self._server is not None:
            self._server.close()
        await self._broker.stop()

    def _connection(self) -> PacketProtocol:
        return PacketProtocol(lambda connection: Conversation(self._broker, connection))
