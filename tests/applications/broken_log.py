"""The application of the hostile tests, whose log has a handler that fails."""

import logging
from typing import NoReturn

from tests.applications.hostile import router

__all__ = ["router"]


class BrokenHandler(logging.Handler):
    """As one that sends records to a server which is away, and lets that be seen."""

    def emit(self, record: logging.LogRecord) -> NoReturn:
        raise OSError(record.levelname)


for name in ("routemq_tasks", "routemq_transport"):
    logging.getLogger(name).addHandler(BrokenHandler(level=logging.WARNING))
