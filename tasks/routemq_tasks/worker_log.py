"""What Celery's log holds: no line on each message, and nothing that acts on a terminal."""

import logging
import warnings
from typing import Any

from celery.app.log import Logging, TaskFormatter
from celery.exceptions import CPendingDeprecationWarning
from celery.utils.log import ColorFormatter

from routemq.logs import JsonFormatter, PrintableFormatter, Sameness, unsilence

_PER_MESSAGE = ("celery.app.trace", "celery.worker.strategy")


class PrintableColorFormatter(PrintableFormatter, ColorFormatter):
    """Celery's, whose colours come after the text was made printable."""


class PrintableTaskFormatter(PrintableFormatter, TaskFormatter):
    """Celery's for what controllers log by its task logger."""


class WorkerLogging(Logging):
    """Celery's set-up of logs with our formatters."""

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self._counting: list[Sameness] = []

    def tell_counts(self) -> None:
        """Write what the log has counted: a child of the pool ends without its usual end."""
        for each in self._counting:
            each.tell()

    def setup(self, *args: Any, **options: Any) -> Any:
        """Set it up, and leave out a page at each loss of the connection on a setting that is not the operator's."""
        found = super().setup(*args, **options)
        # A receiver of `setup_logging` may have called `dictConfig`.
        unsilence()
        # After Celery has asked for all of these warnings.
        warnings.filterwarnings("ignore", r"\s*In Celery 5\.1 we introduced", CPendingDeprecationWarning)
        return found

    def setup_handlers(self, *args: Any, formatter: Any = ColorFormatter, **options: Any) -> Any:
        """Give a logger its handler."""
        printable = PrintableTaskFormatter if formatter is TaskFormatter else PrintableColorFormatter
        before = list(args[0].handlers)
        logger = super().setup_handlers(*args, formatter=printable, **options)
        for handler in logger.handlers:
            if handler not in before:
                self._counting.append(Sameness())
                handler.addFilter(self._counting[-1])
                handler.addFilter(FailuresOfRoutes(self.app))
                if self.app.settings.log_format == "json":
                    handler.setFormatter(JsonFormatter())
        return logger


class FailuresOfRoutes(logging.Filter):
    """Leaves out what Celery's tracer writes of a route's failure, a page of traceback: ours is one line.

    Only where it would be written: whoever listens to the logger, as an error tracker does, has it with its frames.
    """

    def __init__(self, app: Any) -> None:
        super().__init__()
        self._routes = {route.name for route in app.router.routes}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the record."""
        if record.name != "celery.app.trace" or logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            return True
        return getattr(record, "data", {}).get("name") not in self._routes


def quiet_per_message_logs(level: int) -> None:
    """Silence Celery's lines on each message, unless the worker logs at DEBUG.

    They are two for each message, at thousands of messages a second; a failure has its one line from us.
    """
    if level > logging.DEBUG:
        for name in _PER_MESSAGE:
            logging.getLogger(name).setLevel(max(level, logging.WARNING))
