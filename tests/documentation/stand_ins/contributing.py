"""What a test of this repository has."""

from pathlib import Path

from routemq.errors import UnknownQueueError
from tests.processes import running, wait_until
from tests.servers import Stack

project = Path()


def readings() -> list[float]:
    return []
