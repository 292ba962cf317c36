"""The event loop's side: sockets to watch, and when to look again."""

import contextlib
import logging
import socket
import time
from collections.abc import Callable
from queue import Empty
from typing import Any

from kombu.transport import redis as stock

from routemq_transport.upstream.sockets import socket_of

logger = logging.getLogger(__name__)

CHECK_EVERY_S = 2.0


class Poller(stock.MultiChannelPoller):
    """kombu's poller of all channels of a connection, which turns their intake.

    It serves both of Celery's loops: the hub (prefork, threads, solo) calls `on_poll_start` in each of its turns and
    has timers; without a hub (gevent, a plain consumer) `get` is the loop.
    """

    # Kombu's transport keeps its timers here.
    _brpop_health_tref: Any
    _subclient_health_tref: Any

    def __init__(self) -> None:
        super().__init__()
        self._hub: Any = None
        self._timer: Any = None
        self._turn_at: float | None = None
        self._may_sleep = False
        self._bell: tuple[socket.socket, socket.socket] | None = None
        self._bell_rung = False
        self._checked_at = 0.0
        self._new: dict[int, Any] = {}

    @property
    def is_callers(self) -> bool:
        """Whether the loop is whoever calls `get`."""
        return self._hub is None

    @property
    def fds(self) -> dict[int, Any]:
        """Sockets that the hub does not watch yet; it asks in every turn."""
        new, self._new = self._new, {}
        return new

    def _register(self, channel: Any, client: Any, kind: str) -> None:
        super()._register(channel, client, kind)
        self._new[socket_of(client.connection).fileno()] = channel, kind

    def attach(self, hub: Any) -> None:
        """Let a hub be the loop; kombu has registered its own timers with it."""
        self._hub = hub
        self._timer = self._turn_at = None
        bell = self._make_bell()
        hub.add_reader(bell, self._answer_bell)
        # Kombu looks for dead connections every 25 s, by a reply that is overdue, and by PING; our replies are due at
        # once, and PING may be refused.
        self._brpop_health_tref.cancel()
        self._subclient_health_tref.cancel()
        self._brpop_health_tref = hub.call_repeatedly(CHECK_EVERY_S, self.maybe_check_brpop_health)

    def turn_in(self, delay_s: float) -> None:
        """Turn every channel's intake after this many seconds at the latest."""
        at = time.monotonic() + delay_s
        if self._turn_at is not None and self._turn_at <= at:
            return
        self._turn_at = at
        if self._hub is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._hub.call_later(delay_s, self._turn)
        if self._may_sleep:
            # The loop has worked out how long it sleeps before it came here, or is asleep in another greenlet.
            self._ring_bell()

    def on_poll_start(self) -> None:
        """Connect what is to be read, and turn."""
        self._may_sleep = True
        for channel in list(self._channels):
            if channel.active_queues:
                self._register_BRPOP(channel)
                channel.intake.turn()
            if channel.active_fanout_queues:
                self._register_LISTEN(channel)

    def _turn(self) -> None:
        self._timer = self._turn_at = None
        self._may_sleep = False
        for channel in list(self._channels):
            channel.intake.turn()

    def on_readable(self, fileno: int) -> Any:
        """Read what has come on one of our sockets."""
        self._may_sleep = False
        found = self._fd_to_chan.get(fileno)
        if found is None:
            logger.debug("a socket that is not ours any more: %r", fileno)
            return None
        channel, kind = found
        # Credit was checked when the fetch was sent: its reply is read whatever happened since.
        return channel.handlers[kind]()

    def handle_event(self, fileno: int, event: int) -> Any:
        """Handle one event of a loop without a hub."""
        if self._bell is not None and fileno == self._bell[0].fileno():
            self._answer_bell()
            return None
        if event & stock.READ:
            return self.on_readable(fileno)
        if event & stock.ERR:
            self.on_readable(fileno)
        return None

    def _register_BRPOP(self, channel: Any) -> None:  # noqa: N802  kombu's name
        if not self._client_registered(channel, channel.client, "BRPOP"):
            channel.intake.lost_connection()
            self._register(channel, channel.client, "BRPOP")

    def register_wakeup(self, channel: Any, wakeup: Any) -> None:
        """Watch a wake-up connection."""
        ident = (channel, wakeup, "WAKE")
        sock = socket_of(wakeup.connection)
        if self._chan_to_sock.get(ident) is not sock:
            self._register(channel, wakeup, "WAKE")

    def get(self, callback: Callable[..., Any], timeout: float | None = None) -> None:
        """Turn once; returns when one message of a queue was delivered, or what came by PUB/SUB.

        Raises:
            Empty: Nothing was delivered.
        """
        self._in_protected_read = True
        channels = list(self._channels)

        def deliver_one() -> bool:
            return any(channel.intake.deliver_one() for channel in channels)

        try:
            if deliver_one():
                return
            if self._bell is None:
                self.poller.register(self._make_bell(), self.eventflags)
            self.maybe_refresh_binding_expiry()
            if self._turn_at is not None and self._turn_at <= time.monotonic():
                self._turn()
            self.on_poll_start()
            heard = False
            for fileno, event in self.poller.poll(self._sleep_s(timeout)) or ():
                heard = bool(self.handle_event(fileno, event)) or heard
            self._may_sleep = False
            if time.monotonic() - self._checked_at >= CHECK_EVERY_S:
                self.maybe_check_brpop_health()
            if not heard and not deliver_one():
                raise Empty
        finally:
            self._in_protected_read = self._may_sleep = False
            while self.after_read:
                self.after_read.pop()()

    def maybe_check_brpop_health(self) -> None:
        """Give up connections that do not answer."""
        self._checked_at = time.monotonic()
        for channel in list(self._channels):
            if channel.active_queues and "client" in vars(channel):
                channel.intake.check()
            if channel.active_fanout_queues:
                channel.check_listening()

    def close(self) -> None:
        """Forget all sockets."""
        if self._timer is not None:
            self._timer.cancel()
        if self._bell is not None:
            with contextlib.suppress(KeyError, ValueError, OSError):
                if self._hub is not None:
                    self._hub.remove_reader(self._bell[0])
                else:
                    self.poller.unregister(self._bell[0])
            for end in self._bell:
                end.close()
            self._bell = None
        self._hub = self._timer = self._turn_at = None
        super().close()

    def _sleep_s(self, timeout: float | None) -> float:
        longest = 1.0 if timeout is None else timeout
        if self._turn_at is None:
            return longest
        return min(longest, max(0.0, self._turn_at - time.monotonic()))

    def _make_bell(self) -> socket.socket:
        if self._bell is None:
            self._bell = socket.socketpair()
            for end in self._bell:
                end.setblocking(False)
        self._bell_rung = False
        return self._bell[0]

    def _ring_bell(self) -> None:
        if self._bell is not None and not self._bell_rung:
            self._bell_rung = True
            with contextlib.suppress(OSError):
                self._bell[1].send(b"\0")

    def _answer_bell(self) -> None:
        self._bell_rung = False
        self._may_sleep = False
        if self._bell is not None:
            with contextlib.suppress(OSError):
                self._bell[0].recv(64)
