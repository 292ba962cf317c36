"""MQTT messages in, Celery tasks out, nothing lost."""

from typing import TYPE_CHECKING, Any

from routemq.controllers import Controller
from routemq.errors import RouteMQError
from routemq.message import Client, Message
from routemq.middleware import Context, Middleware
from routemq.retry import Reject, Retry, RetryPolicy
from routemq.routing import Route, RouteGroup, Router

if TYPE_CHECKING:
    from routemq.supervision.worker_manager import WorkerManager

__all__ = [
    "Client",
    "Context",
    "Controller",
    "Message",
    "Middleware",
    "Reject",
    "Retry",
    "RetryPolicy",
    "Route",
    "RouteGroup",
    "RouteMQError",
    "Router",
    "WorkerManager",
]


def __getattr__(name: str) -> Any:
    # Every process imports this package; what a supervisor needs is loaded where there is one.
    if name == "WorkerManager":
        from routemq.supervision.worker_manager import WorkerManager

        return WorkerManager
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
