"""Celery's Redis transport, faster and without losses; see `docs/transport.md`."""

from typing import Any
from urllib.parse import urlsplit

from kombu.utils.imports import symbol_by_name

from routemq_transport.amqp import AMQP, TRANSPORTS, Connection, Refuse
from routemq_transport.starting_request import StartingRequest


def install(app: Any, refuse: Refuse | None = None) -> None:
    """Carry the messages of one Celery app over this transport; every other app of the process keeps its own.

    Args:
        app: Without tasks yet.
        refuse: Records what becomes of a message that no worker can take; without it such a message comes back again
            and again.
    """

    def configure(**_signal: Any) -> None:
        app.conf.broker_transport = TRANSPORTS[urlsplit(app.conf.broker_url).scheme]

    # Each time that its settings are read: an application may add some of its own with `config_from_object`.
    app.on_after_configure.connect(configure, weak=False)
    if app.configured:
        configure()
    refuse_by(app, refuse)
    # Of the class that the app has: Django's fix-up has put its own there.
    app.task_cls = type("StartingTask", (symbol_by_name(app.task_cls),), {"Request": StartingRequest})


def refuse_by(app: Any, refuse: Refuse | None) -> None:
    """Have an app's messages that no worker can read recorded by this function."""
    # Not among the transport's options, which remote control shows.
    connection = type("Connection", (Connection,), {"refuse": refuse and staticmethod(refuse)})
    app.amqp_cls = type("AMQP", (AMQP,), {"Connection": connection})
