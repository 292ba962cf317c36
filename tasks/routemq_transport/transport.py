"""The transports that `install` gives to an app."""

from typing import Any

from kombu.transport import redis as stock

from routemq_transport.upstream.channel import Channel, SecureChannel, SentinelChannel
from routemq_transport.upstream.poller import Poller


class Transport(stock.Transport):
    """`redis://`."""

    Channel = Channel

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let Celery's hub be the loop."""
        super().register_with_event_loop(connection, loop)
        self.cycle.attach(loop)


class SecureTransport(Transport):
    """`rediss://`."""

    Channel = SecureChannel


class SentinelTransport(Transport):
    """`sentinel://`."""

    default_port = 26379
    Channel = SentinelChannel
