"""`celery migrate` between Redis servers: over our transport, with our key prefix, and with what waits for its time."""

from typing import Any
from urllib.parse import urlsplit

from celery.bin import migrate
from routemq_transport.amqp import TRANSPORTS

from routemq_tasks.application import Application


def migrate_as(app: Application) -> None:
    """Let the command, which connects by itself, connect as this app does; for a process that runs nothing else."""

    def connect(url: str) -> Any:
        scheme = urlsplit(url).scheme
        ours = TRANSPORTS.get(scheme) if app.settings.transport == "routemq" else None
        return app.connection_for_write(url, transport=ours or scheme, transport_options={"hands_out_waiting": True})

    migrate.Connection = connect
