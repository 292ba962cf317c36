"""A plugin of pytest: `redis://` means our transport in this process, which runs nothing but a suite of upstream's."""

from celery import Task
from kombu.transport import TRANSPORT_ALIASES
from routemq_transport.amqp import TRANSPORTS
from routemq_transport.starting_request import StartingRequest

# What an application does for itself alone, with `install(app)`, is done to all: these suites make apps of their own.
TRANSPORT_ALIASES.update(TRANSPORTS)
Task.Request = StartingRequest
