"""The connection for remote control and events, which an event loop reads."""

from functools import cached_property
from typing import Any

import redis
from kombu.transport import redis as stock

from routemq_transport.upstream.sockets import socket_of


class _Reading(redis.client.PubSub):
    """Reads what is there.

    redis-py connects before it reads and after it failed, without a word to its caller; as kombu subscribes by itself,
    that connection is subscribed to nothing, and redis-py waits on it for ever.
    """

    def parse_response(self, *_args: Any, **_options: Any) -> Any:
        """Return what has come; None if nothing has, or the answer to a sign of life.

        Raises:
            redis.ConnectionError: The connection is lost.
        """
        connection: Any = self.connection
        if connection is None or socket_of(connection) is None:
            raise redis.ConnectionError("the connection for remote control and events is lost")
        if not connection.can_read(timeout=0):
            return None
        response = connection.read_response(disconnect_on_error=False, push_request=True)
        if self.is_health_check_response(response):
            self.health_check_response_counter -= 1
            return None
        return response


class _Listening(stock.PrefixedRedisPubSub, _Reading):
    """The same without the prefix of keys; kombu looks for it even if it is empty."""


class ListeningChannel(stock.Channel):
    """Listens for remote control and events, and is not held up by it."""

    @cached_property
    def subclient(self) -> Any:
        """Kombu's client for PUB/SUB."""
        return _Listening(self.async_pool, global_keyprefix=self.global_keyprefix)  # type: ignore[call-arg]  # kombu's
