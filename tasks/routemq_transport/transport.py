"""The transports that `install` gives to an app."""

from typing import Any

from kombu.transport import redis as stock

from routemq_transport.channel import Channel, SecureChannel, SentinelChannel
from routemq_transport.poller import CHECK_EVERY_S, Poller


class Transport(stock.Transport):
    """`redis://`."""

    Channel = Channel

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let Celery's hub be the loop."""
        super().register_with_event_loop(connection, loop)
        # Kombu looks for dead connections every 25 s, by a reply that is overdue, and by PING; our replies are due at
        # once, and PING may be refused.
        self.cycle._brpop_health_tref.cancel()  # noqa: SLF001  kombu's own place for it
        self.cycle._subclient_health_tref.cancel()  # noqa: SLF001  the same
        self.cycle._brpop_health_tref = loop.call_repeatedly(  # noqa: SLF001
            CHECK_EVERY_S, self.cycle.maybe_check_brpop_health
        )
        self.cycle.attach(loop)


class SecureTransport(Transport):
    """`rediss://`."""

    Channel = SecureChannel


class SentinelTransport(Transport):
    """`sentinel://`."""

    default_port = 26379
    Channel = SentinelChannel
