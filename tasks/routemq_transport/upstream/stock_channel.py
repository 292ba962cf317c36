"""Celery's own channel; what it cannot read is not lost, and ends no worker."""

import logging
import time
import uuid
from queue import Empty
from typing import Any

import redis
from kombu.transport import redis as stock

from routemq.envelope import unacked_record
from routemq.text import error_line
from routemq_transport.items import Item, MalformedItemError
from routemq_transport.upstream.listening import ListeningChannel

logger = logging.getLogger(__name__)

_AGAIN_S = 1.0


class _NotedMessage(stock.Channel.Message):
    """kombu's message, which tells its channel that it could be read."""

    def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
        super().__init__(payload, channel=channel, **options)
        if not (isinstance(self.delivery_info, dict) and {"exchange", "routing_key"} <= self.delivery_info.keys()):
            # Which kombu needs for its record.
            raise MalformedItemError(problem="no object 'delivery_info' with an exchange and a routing key")
        if channel is not None:
            channel.has_read = True


class ReadingChannel(ListeningChannel):
    """kombu's channel, which has what it cannot read recorded by whoever knows of dead letters.

    Attributes:
        has_read: The message that was taken last could be read; what fails then is its consumer.
    """

    Message = _NotedMessage
    has_read = False

    def _brpop_read(self, **options: Any) -> Any:
        client, taken = self.client, list[Any]()
        parse = client.parse_response

        def noting(*args: Any, **more: Any) -> Any:
            taken.append(parse(*args, **more))
            return taken[-1]

        client.parse_response, self.has_read = noting, False
        try:
            return super()._brpop_read(**options)
        except Empty:
            raise
        except Exception as exc:
            # Kombu takes a KeyError for a lost connection, so its own list of these does not help.
            if self.has_read or not taken or not taken[-1] or isinstance(exc, (redis.RedisError, OSError)):
                raise
            # It is off its queue, and on no record.
            name, raw = taken[-1]
            self._bury(name, raw, exc)
            return True
        finally:
            del client.parse_response

    def _bury(self, name: Any, raw: bytes, error: Exception) -> None:
        tag, refuse = f"unread.{uuid.uuid4().hex}", getattr(self.connection.client, "refuse", None)
        text: str = name if isinstance(name, str) else name.decode(errors="replace")
        queue = text.removeprefix(self.global_keyprefix).rsplit(self.sep, 1)[0]
        with self.conn_or_acquire() as client:
            client.hset(self.unacked_key, tag, unacked_record(raw, queue))
            client.zadd(self.unacked_index_key, {tag: time.time()})
            if refuse is not None:
                problem = MalformedItemError(problem=f"{type(error).__name__}: {error}")
                refuse(Item(tag=tag, queue=queue, raw=raw), problem)
            if client.hdel(self.unacked_key, tag):
                # It could not be recorded, and kombu would stumble over it where it gives back what was lost.
                client.zrem(self.unacked_index_key, tag)
                client.lpush(queue, raw)
                logger.error("a message on %s goes back, no worker can read it: %s", queue, error_line(error))
                time.sleep(_AGAIN_S)
