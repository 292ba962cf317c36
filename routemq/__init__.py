"""MQTT messages in, Celery tasks out, nothing lost."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routemq.batching import Batch
    from routemq.controllers import Controller
    from routemq.errors import RouteMQError
    from routemq.message import Client, Message, PublishProperties, Response
    from routemq.middleware import BatchNext, Context, Middleware, Next
    from routemq.named_codecs import Codec
    from routemq.reply import Reply
    from routemq.retry import Reject, Retry, RetryPolicy
    from routemq.route import Route
    from routemq.routing import RouteGroup, Router
    from routemq.supervision.worker_manager import WorkerManager

__all__ = [
    "Batch",
    "BatchNext",
    "Client",
    "Codec",
    "Context",
    "Controller",
    "Message",
    "Middleware",
    "Next",
    "PublishProperties",
    "Reject",
    "Reply",
    "Response",
    "Retry",
    "RetryPolicy",
    "Route",
    "RouteGroup",
    "RouteMQError",
    "Router",
    "WorkerManager",
]

_HOMES = {
    "Batch": "batching",
    "BatchNext": "middleware",
    "Client": "message",
    "Codec": "named_codecs",
    "Context": "middleware",
    "Controller": "controllers",
    "Message": "message",
    "Middleware": "middleware",
    "Next": "middleware",
    "PublishProperties": "message",
    "Reject": "retry",
    "Reply": "reply",
    "Response": "message",
    "Retry": "retry",
    "RetryPolicy": "retry",
    "Route": "route",
    "RouteGroup": "routing",
    "RouteMQError": "errors",
    "Router": "routing",
    "WorkerManager": "supervision.worker_manager",
}


# Of a module that has one, a type checker takes every name for given.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a public name when it is asked for: every command and process imports this package first."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
