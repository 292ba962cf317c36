"""Celery's own Redis transport, over our connections."""

import redis
from kombu.transport import redis as stock

from routemq.upstream.redis_connection import RedisConnection, RedisSSLConnection
from routemq_transport.upstream.stock_channel import ReadingChannel


class StockChannel(ReadingChannel):
    """kombu's channel, which leaves a server that does not answer, or takes no writes."""

    connection_class: type[redis.Connection] = RedisConnection
    connection_class_ssl = RedisSSLConnection


class SecureStockChannel(StockChannel):
    """The same over TLS; kombu looks for the scheme `rediss` only where it is the transport's name."""

    connection_class = RedisSSLConnection


class StockTransport(stock.Transport):
    """`redis://`."""

    Channel = StockChannel


class SecureStockTransport(stock.Transport):
    """`rediss://`."""

    Channel = SecureStockChannel
