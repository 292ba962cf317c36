"""Celery's Redis transport, faster and without losses; see `docs/transport.md`."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import redis
from kombu.utils.imports import symbol_by_name

from routemq.dead_letters import DeadLetters
from routemq_transport.connection import AMQP, TRANSPORTS
from routemq_transport.request import StartingRequest


def install(app: Any, dead_letters: "Callable[[redis.Redis], DeadLetters] | None" = None) -> None:
    """Carry the messages of one Celery app over this transport; every other app of the process keeps its own.

    Args:
        app: Without tasks yet.
        dead_letters: Makes the store of what no worker can take; without it, one with the transport's key prefix.
    """

    def configure(**_signal: Any) -> None:
        app.conf.broker_transport = TRANSPORTS[urlsplit(app.conf.broker_url).scheme]
        if dead_letters is not None:
            app.conf.broker_transport_options = {**app.conf.broker_transport_options, "dead_letters_of": dead_letters}

    # Each time that its settings are read: an application may add some of its own with `config_from_object`.
    app.on_after_configure.connect(configure, weak=False)
    if app.configured:
        configure()
    app.amqp_cls = AMQP
    # Of the class that the app has: Django's fix-up has put its own there.
    app.task_cls = type("StartingTask", (symbol_by_name(app.task_cls),), {"Request": StartingRequest})
