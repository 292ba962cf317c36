"""How logs look; set up by the front doors alone."""

import atexit
import contextlib
import copy
import logging
import os
import re
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

import orjson

from routemq.interruptions import is_interruption
from routemq.settings import Settings
from routemq.text import printable

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

SAME_PER_SECOND = 10
"""Records of one kind that are written in a second; the others are counted."""

IN_ONE_LINE = "in_one_line"
"""In a record's `extra`: its error is for those who listen to the log; what is written is one line, without frames."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "data", IN_ONE_LINE}
_TELLING = re.compile(r"(?:routemq(?:_[a-z]+)?|celery|kombu)(?:\.|\Z)")
"""Begins the names of loggers that tell what becomes of messages."""


class PrintableFormatter(logging.Formatter):
    """Writes no character that acts on a terminal, whoever logged it; what is no first line is indented.

    So neither a payload nor an exception's text can pass for another record.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return what is written of a record."""
        record = without_error(record)
        if record.exc_text:
            # Another handler has made it, by the record's error or instead of it, as it came.
            record = copy.copy(record)
            record.exc_text = None if record.exc_info else _block(str(record.exc_text))
        try:
            return super().format(record)
        # logging would write the arguments to standard error, raw and whole, and leave the record out. The text is
        # anybody's code.
        except BaseException as exc:
            if is_interruption(exc):
                raise
            record = copy.copy(record)
            record.msg, record.args = _message(record), None
            return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        """Return the record's line, or lines."""
        return _within(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802  logging's name
        """Return a traceback."""
        return _block(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802  logging's name
        """Return a stack."""
        return _block(super().formatStack(stack_info))


class JsonFormatter(logging.Formatter):
    """Writes each record as one JSON object on one line.

    `time` (RFC 3339, UTC), `level`, `logger`, `message`, `pid`; `route` and `message_id` where a record is about a
    message; `exception` and `stack` as text; whatever else was passed as `extra`, with `_` behind a name that is ours.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": printable(_message(record)),
            "pid": record.process,
        }
        more = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        told |= {f"{name}_" if name in told else name: value for name, value in more.items()}
        record = without_error(record)
        if record.exc_info:
            told["exception"] = printable(self.formatException(record.exc_info), lines=True)
        if record.stack_info:
            told["stack"] = printable(record.stack_info, lines=True)
        try:
            return orjson.dumps(told, default=_shown, option=orjson.OPT_NON_STR_KEYS).decode()
        # What was passed as `extra` is anybody's; the record itself must not be lost for it.
        except (TypeError, ValueError):
            return orjson.dumps({_shown(name): _shown(value) for name, value in told.items()}).decode()


class Sameness(logging.Filter):
    """Counts what is said of one route again and again, instead of writing it more than ten times a second.

    Records are of one kind when they have the same words, are about the same route and, if they end with an error, of
    the same class. The count is written, as a record of its own, when the second is over or the process ends; one that
    ends by `os._exit` calls `tell` before. Safe from all threads, and over a fork.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begin()
        # Before the handlers are closed: logging has registered that earlier.
        atexit.register(self.tell)
        # Another thread may hold the lock meanwhile, and what was counted is the parent's to tell.
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[tuple[object, ...], _Kind] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the record."""
        route = getattr(record, "route", None)
        # Others may call anything at all a route, and say what is no text.
        is_ours = isinstance(route, str) and isinstance(record.msg, str)
        if record.levelno < logging.WARNING or not is_ours or hasattr(record, "suppressed"):
            return True
        key = (record.name, record.levelno, record.msg, route, _error_class(record))
        now = time.monotonic()
        with self._lock:
            kind = self._kinds.get(key)
            if kind is None or now - kind.since >= 1.0:
                # The count of the second before is with its own timer.
                self._kinds[key] = _Kind(since=now)
                return True
            kind.count += 1
            if kind.count < SAME_PER_SECOND:
                return True
            kind.suppressed += 1
            if kind.suppressed == 1:
                kind.record = record
                timer = threading.Timer(max(0.0, kind.since + 1.0 - now), self._tell, (kind,))
                timer.daemon = True
                try:
                    timer.start()
                except RuntimeError:
                    # The system has no thread at this moment: this one is written, and nothing is left uncounted.
                    kind.suppressed = 0
                    return True
        return False

    def tell(self) -> None:
        """Write what is counted so far."""
        with self._lock:
            kinds = list(self._kinds.values())
        for kind in kinds:
            self._tell(kind)

    def _tell(self, kind: "_Kind") -> None:
        with self._lock:
            record, count, kind.suppressed = kind.record, kind.suppressed, 0
            kind.since = float("-inf")
        if record is None or not count:
            return
        route, error = getattr(record, "route", None), _error_class(record)
        logging.getLogger(record.name).log(
            record.levelno, "%d more records like the ones before within a second (route %s%s)", count, route,
            f", {error}" if error else "", extra={"route": route, "suppressed": count},
        )  # fmt: skip


class _Kind:
    """What was said in one second, and the first record of it that was not written."""

    __slots__ = ("count", "record", "since", "suppressed")

    def __init__(self, *, since: float) -> None:
        self.since, self.count, self.suppressed = since, 0, 0
        self.record: logging.LogRecord | None = None


def configure_logging(settings: Settings) -> None:
    """Write this process's log to standard error, at `ROUTEMQ_LOG_LEVEL`, in the form of `LOG_FORMAT`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else PrintableFormatter(LOG_FORMAT))
    handler.addFilter(Sameness())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)


def say(logger: logging.Logger, level: int, text: str, *arguments: object, **options: Any) -> None:
    """Log what is said as a message's fate is decided: that hangs on no handler or filter of the application."""
    try:
        logger.log(level, text, *arguments, stacklevel=2, **options)
    # Who could be told of a failure is who has failed.
    except BaseException as exc:
        if is_interruption(exc):
            raise


def unsilence() -> None:
    """Let our loggers and Celery's speak again after the application's code was imported, or has set itself up.

    `logging.config.dictConfig` silences every logger that it is not told of, unless it is asked not to; then no failure
    of a message would be in the log. A handler that raises, as one whose server is away, ends nobody who logs.
    """
    tellers = [
        logger
        for name, logger in list(logging.root.manager.loggerDict.items())
        if _TELLING.match(name) and isinstance(logger, logging.Logger)
    ]
    for logger in tellers:
        logger.disabled = False
    for logger in (logging.root, *tellers):
        for handler in logger.handlers:
            _steady(handler)


def _steady(handler: logging.Handler) -> None:
    """Have a handler say on standard error what it raises, as Python's own do; but one that has a way of its own."""
    if "handle" in vars(handler) or type(handler).handleError is not logging.Handler.handleError:
        return
    handle = handler.handle

    def steady(record: logging.LogRecord) -> Any:
        try:
            return handle(record)
        # Its filters and its `emit` may be the application's. `SystemExit` is rather of a signal, in its own program.
        except BaseException as exc:
            if isinstance(exc, SystemExit) or is_interruption(exc):
                raise
            with contextlib.suppress(Exception):
                handler.handleError(record)
            return False

    handler.handle = steady  # type: ignore[method-assign]


def without_error(record: logging.LogRecord) -> logging.LogRecord:
    """Return the record as it is written: one that is to be one line without its error."""
    if record.exc_info and getattr(record, IN_ONE_LINE, False):
        record = copy.copy(record)
        record.exc_info = record.exc_text = None
    return record


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    # The text is anybody's code.
    except BaseException as exc:
        if is_interruption(exc):
            raise
        return f"{_shown(record.msg)} (what it is about cannot be shown: {type(exc).__name__})"


def _within(text: str) -> str:
    return printable(text, lines=True).replace("\n", "\n    ")


def _block(text: str) -> str:
    return _within("\n" + text).removeprefix("\n")


def _error_class(record: logging.LogRecord) -> str:
    last = record.args[-1] if isinstance(record.args, tuple) and record.args else None
    return last.partition(":")[0] if isinstance(last, str) else ""


def _shown(value: object) -> str:
    try:
        return printable(str(value))
    # As above.
    except BaseException as exc:
        if is_interruption(exc):
            raise
        return f"(a {type(value).__name__} that has no text)"
