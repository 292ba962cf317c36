"""MQTT messages in, Celery tasks out, nothing lost."""

from routemq.controllers import Controller
from routemq.errors import RouteMQError
from routemq.message import Client, Message
from routemq.middleware import Context, Middleware
from routemq.retry import Reject, Retry, RetryPolicy
from routemq.routing import Route, RouteGroup, Router

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
]
