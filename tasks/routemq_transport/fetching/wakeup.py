"""How an idle worker hears of new messages: Redis tells it when a key that it looked at changes."""

import logging
import time
from collections.abc import Callable
from typing import Any

import redis

from routemq_transport.upstream.sockets import socket_of

logger = logging.getLogger(__name__)

_CHANNEL = "__redis__:invalidate"
_ASK_EVERY_S = 10.0


class WakeUp:
    """A connection that Redis' key tracking (`CLIENT TRACKING … REDIRECT`) reports to.

    The fetch script of an idle worker reads its queues and delayed sets, and Redis promises one message when one of
    them changes, whoever changes it and however. No key is popped, written or polled for it, and it takes one
    connection for any number of queues. (`BLMOVE` from a list to itself needs one connection per list, writes, and is
    refused by a full Redis.)

    Args:
        pool: Of the event loop's connections.
        clock: Seconds that never jump.

    Attributes:
        connection: In the RESP2 form, whatever the other connections speak: a subscriber's replies differ.
    """

    def __init__(self, pool: Any, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The class of an asynchronous pool tells the event loop when it disconnects.
        self.connection: Any = pool.connection_class(**{**pool.connection_kwargs, "protocol": 2})
        self.works = True
        self._client_id = 0
        self._armed_socket: Any = None
        self._asked_at: float | None = None
        self._heard_at = 0.0

    def connect(self) -> None:
        """Connect and listen, unless it does already, or this Redis does not let it.

        Raises:
            redis.ConnectionError: The connection failed.
        """
        if socket_of(self.connection) is not None and self._client_id:
            return
        self.connection.disconnect()
        self.connection.connect()
        try:
            self._client_id = int(self._ask("CLIENT", "ID"))
            self._ask("SUBSCRIBE", _CHANNEL)
        except redis.ResponseError as exc:
            self.give_up(exc)
        self._armed_socket, self._asked_at, self._heard_at = None, None, self._clock()

    def track(self, connection: Any) -> None:
        """Let Redis track what this connection reads after `CLIENT CACHING YES`, once per pair of connections."""
        if socket_of(connection) is self._armed_socket or not self.works:
            return
        try:
            self._ask("CLIENT", "TRACKING", "OFF", of=connection)
            self._ask("CLIENT", "TRACKING", "ON", "REDIRECT", str(self._client_id), "OPTIN", "NOLOOP", of=connection)
        except redis.ResponseError as exc:
            self.give_up(exc)
        self._armed_socket = socket_of(connection)

    def read(self) -> bool:
        """Read what has come; True if a key changed."""
        changed = False
        while self.connection.can_read(timeout=0):
            kind, *_ = self.connection.read_response()
            self._heard_at, self._asked_at = self._clock(), None
            changed = changed or kind == b"message"
        return changed

    def check(self) -> None:
        """Ask for a sign of life now and then, by subscribing again: a PING may be refused.

        Raises:
            redis.ConnectionError: There was none; the connection is half open.
        """
        if not self.works:
            return
        now = self._clock()
        if self._asked_at is not None:
            if now - self._asked_at > _ASK_EVERY_S:
                self.disconnect()
                raise redis.ConnectionError("no answer on the wake-up connection")
        elif now - self._heard_at > _ASK_EVERY_S:
            self._asked_at = now
            self.connection.send_command("SUBSCRIBE", _CHANNEL, check_health=False)

    def give_up(self, error: redis.ResponseError) -> None:
        """This Redis does not tell its user."""
        self.works = False
        logger.warning("this Redis does not tell of new messages, looking for them 20 times a second: %s", error)

    def disconnect(self) -> None:
        """Close the connection; `connect` opens another."""
        self._client_id = 0
        self.connection.disconnect()

    def _ask(self, *command: str, of: Any = None) -> Any:
        connection = of or self.connection
        connection.send_command(*command, check_health=False)
        return connection.read_response()
