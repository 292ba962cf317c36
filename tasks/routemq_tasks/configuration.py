"""Celery's settings, made from ours."""

from collections.abc import Iterable
from typing import Any

from kombu.entity import Exchange, Queue
from routemq_transport.amqp import STOCK_TRANSPORTS

from routemq.connections import redis_tls_options
from routemq.logs import LOG_FORMAT
from routemq.queues import FALLBACK_QUEUE
from routemq.settings import Settings

PREFETCH_MULTIPLIER = 32
"""Messages in hand per pool slot: enough that one fetch serves many, few enough that slow messages are not hoarded."""

# Only our transport renews its lease on what a worker holds; with Celery's own, a longer task would be run twice.
_VISIBILITY_TIMEOUT_S = {"routemq": 120, "stock": 3600}

_TASK_LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(task_name)s[%(task_id)s] %(message)s"


def celery_configuration(settings: Settings, queues: Iterable[str]) -> dict[str, Any]:
    """Return the configuration of the Celery app."""
    make_queue: Any = Queue  # Kombu has no types
    make_exchange: Any = Exchange
    anonymous = make_exchange("", type="direct")
    stock = STOCK_TRANSPORTS["rediss" if settings.redis.tls else "redis"]
    return ({"broker_transport": stock} if settings.transport == "stock" else {}) | {
        "broker_url": settings.redis.url,
        "broker_use_ssl": redis_tls_options(settings) or False,
        "broker_transport_options": _transport_options(settings),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # Whatever Redis answers, a worker waits and tries again.
        "broker_channel_error_retry": True,
        # JSON only; a message of any other content type is dead on arrival.
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "result_backend": None,
        # There are none to clean up after: else beat would send the task that does it, every night.
        "result_expires": None,
        "task_ignore_result": True,
        "task_acks_late": True,
        # What a failure becomes is recorded before Celery hears of it; its own acknowledgement then hits nothing.
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        # Would put a message that kills its process back for ever: Redis keeps no delivery count.
        "task_reject_on_worker_lost": False,
        # How long the pool waits for a late answer of a child that died. The outcome is fenced, so this may be short.
        "worker_lost_wait": 0.2,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "task_queues": [make_queue(name, exchange=anonymous, routing_key=name) for name in sorted(queues)],
        "task_default_queue": FALLBACK_QUEUE,
        "task_default_exchange": "",
        # A queue that no route uses is a mistake, never an idle worker.
        "task_create_missing_queues": False,
        "worker_autoscaler": "routemq_tasks.upstream.autoscaler:LoadAutoscaler",
        "worker_prefetch_multiplier": PREFETCH_MULTIPLIER,
        "worker_consumer": "routemq_tasks.consumer:RouteConsumer",
        # Events are sent by workers that were started with -E; then also by whoever sends a task.
        "task_send_sent_event": True,
        "worker_log_format": LOG_FORMAT,
        "worker_task_log_format": _TASK_LOG_FORMAT,
        # What a controller prints is its own; Celery would cut it into log lines, a comma at a time.
        "worker_redirect_stdouts": False,
    }


def _transport_options(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "global_keyprefix": settings.key_prefix,
        "visibility_timeout": settings.visibility_timeout_s or _VISIBILITY_TIMEOUT_S[settings.transport],
        "retry_on_timeout": False,
    }
    if settings.transport == "stock":
        # Celery's own would wait for ever on a connection that is half open; ours has its own limits.
        options |= {"socket_keepalive": True, "socket_connect_timeout": 5, "socket_timeout": 5}
    return options
