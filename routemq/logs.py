"""How logs look; set up by the front doors alone."""

import logging
import sys
from typing import Any

from routemq.settings import Settings
from routemq.text import printable

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class PrintableFormatter(logging.Formatter):
    """Writes no character that acts on a terminal, whoever logged it; what is no first line is indented.

    So neither a payload nor an exception's text can pass for another record.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        """Return the record's line, or lines."""
        return _within(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802  logging's name
        """Return a traceback."""
        return _within("\n" + super().formatException(ei)).removeprefix("\n")

    def formatStack(self, stack_info: str) -> str:  # noqa: N802  logging's name
        """Return a stack."""
        return _within("\n" + super().formatStack(stack_info)).removeprefix("\n")


def configure_logging(settings: Settings) -> None:
    """Write this process's log to standard error, at `ROUTEMQ_LOG_LEVEL`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter(LOG_FORMAT))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)


def _within(text: str) -> str:
    return printable(text, lines=True).replace("\n", "\n    ")
