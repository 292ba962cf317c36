"""The last line of defence: whatever is logged, by whomever, with whatever a message held."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from textwrap import dedent
from typing import NoReturn

import pytest
from celery import signals
from routemq_tasks.app import RouteMQCelery
from routemq_tasks.worker_log import PrintableColorFormatter, PrintableTaskFormatter

from routemq import Router
from routemq.logs import LOG_FORMAT, SAME_PER_SECOND, JsonFormatter, PrintableFormatter, Sameness, say, unsilence
from routemq.settings import Settings
from tests.processes import clean_environment, wait_until

FORGED = "x\n2026-01-01 00:00:00,000 ERROR   routemq: forged\x1b[2J"


@pytest.mark.parametrize("formatter", [PrintableFormatter, PrintableTaskFormatter, PrintableColorFormatter])
def test_a_record_is_one_record_and_acts_on_nothing(formatter: type[logging.Formatter]) -> None:
    error = ValueError(FORGED)
    info = (type(error), error, None)
    record = logging.LogRecord("app", logging.INFO, __file__, 1, "got %s", (FORGED + "\ud800",), info)
    first, *more = formatter(LOG_FORMAT).format(record).split("\n")
    assert first.endswith("INFO    app: got x")
    assert all(line.startswith("    ") for line in more)
    text = "\n".join(more)
    assert text.isprintable() or set("\n") == {char for char in text if not char.isprintable()}
    assert text.encode()
    assert "ValueError: x" in text
    assert record.exc_text is None or "\x1b" not in record.exc_text


def test_celerys_colours_stay() -> None:
    record = logging.LogRecord("app", logging.ERROR, __file__, 1, "\x1b[2J", (), None)
    assert PrintableColorFormatter(LOG_FORMAT, use_color=True).format(record).startswith("\x1b[1;31m")
    assert "\\x1b[2J" in PrintableColorFormatter(LOG_FORMAT, use_color=True).format(record)


def record(text: str, *args: object, level: int = logging.ERROR, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("routemq_tasks.outcomes", level, __file__, 1, text, args, None)
    made.__dict__.update(extra)
    return made


def test_a_record_is_one_line_of_json_with_its_route_and_message() -> None:
    line = JsonFormatter().format(
        record("message %s: %s", "m1", "a\x1b[2J\nb", route="r", message_id="m1", odd={1: object})
    )
    found = json.loads(line)
    assert "\n" not in line
    assert found["message"] == "message m1: a\\x1b[2J\\nb"
    assert (found["level"], found["route"], found["message_id"]) == ("ERROR", "r", "m1")
    assert found["time"].endswith("+00:00")


def test_what_cannot_be_json_does_not_lose_its_record() -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError

    found = json.loads(JsonFormatter().format(record("said", route="\ud800", thing=Hostile(), tree={"a": Hostile()})))
    assert found["message"] == "said"


class Nameless:
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError


class Leaving:
    """Ends who asks for its text."""

    def __str__(self) -> str:
        raise SystemExit


def test_a_traceback_that_another_handler_has_made_is_written_as_ours_are() -> None:
    error = ValueError(FORGED)
    info = (ValueError, error, None)
    for more in ({"exc_info": info}, {}):
        made = record("said", **more)
        # As `logging` keeps it for the next handler, and `QueueHandler` in place of the error.
        made.exc_text = logging.Formatter().formatException(info)
        first, *others = PrintableFormatter(LOG_FORMAT).format(made).split("\n")
        assert first.endswith("said")
        assert others
        assert all(line.startswith("    ") and line.isprintable() for line in others)


@pytest.mark.parametrize(
    ("text", "args", "told"),
    [("%d\x1b", ("secret",), "%d\\x1b"), ("%s %s", (1,), "%s %s"), ("%s", (Nameless(),), "%s"),
     ("%s", (Leaving(),), "%s"),
     (Nameless(), (), "a Nameless")],
)  # fmt: skip
def test_a_record_that_has_no_text_is_told_all_the_same(
    text: str, args: tuple[object, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for formatter in (JsonFormatter(), PrintableFormatter(LOG_FORMAT), PrintableTaskFormatter(LOG_FORMAT)):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(formatter)
        handler.handle(record(text, *args))
        (line,) = capsys.readouterr().err.splitlines()
        assert told in (json.loads(line)["message"] if line.startswith("{") else line)
        assert "cannot be shown" in line
        assert "secret" not in line


def test_nobody_else_says_when_a_record_was_written_and_of_what_level() -> None:
    found = json.loads(JsonFormatter().format(record("said", time=0.2, logger="mine", **{"\ud800": 1})))
    assert found["time"].endswith("+00:00")
    assert (found["logger"], found["logger_"]) == ("routemq_tasks.outcomes", "mine")
    assert found["\\ud800"] == "1"


def test_an_exception_is_told_in_the_same_line() -> None:
    try:
        int("no \x1b sensor")
    except ValueError:
        made = logging.LogRecord("n", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    line = JsonFormatter().format(made)
    assert "x1b sensor" in line
    assert json.loads(line)["exception"].startswith("Traceback")


def test_what_is_said_again_and_again_of_a_route_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    sameness = Sameness()
    words = "message %s (%s) is dead, reason %s: %s"

    def said(number: int, route: str, error: str) -> bool:
        return sameness.filter(record(words, f"m{number}", route, "failed", error, route=route))

    shown = [said(number, "one", f"ValueError: {number}") for number in range(200)]
    assert sum(shown) == SAME_PER_SECOND
    assert said(1, "one", "KeyError: another class is another kind")
    assert said(1, "two", "ValueError: another route as well")
    wait_until(lambda: caplog.records, message="the others are told")
    assert caplog.records[0].getMessage() == (
        "190 more records like the ones before within a second (route one, ValueError)"
    )
    assert sameness.filter(caplog.records[0])
    assert said(201, "one", "ValueError: the next second begins")


def test_what_is_counted_is_told_by_the_process_that_counted_it_also_at_its_end(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        dedent("""
            import logging, os, sys

            from routemq.logs import configure_logging
            from routemq.settings import Settings

            def say(count):
                for number in range(count):
                    logging.getLogger("x").warning("again", extra={"route": sys.argv[1]})

            configure_logging(Settings())
            say(12)
            [sameness] = logging.getLogger().handlers[0].filters
            # Another thread may count while this process is forked.
            sameness._lock.acquire()
            child = os.fork()
            if not child:
                sys.argv[1] = "child"
                say(13)
                sameness.tell()
                os._exit(0)
            sameness._lock.release()
            assert os.waitpid(child, 0)[1] == 0
            sys.exit(3)
        """),
        encoding="utf-8",
    )
    run = subprocess.run(
        [sys.executable, str(program), "parent"], capture_output=True, encoding="utf-8", check=False,
        env=clean_environment(),
    )  # fmt: skip
    told = [line.rpartition("within a second ")[2] for line in run.stderr.splitlines() if "more records" in line]
    assert (run.returncode, told) == (3, ["(route child)", "(route parent)"]), run.stderr
    counts = [line for line in run.stderr.splitlines() if ": 3 more" in line or ": 2 more" in line]
    assert len(counts) == 2


def test_what_there_is_no_thread_to_count_for_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    sameness = Sameness()
    record = logging.makeLogRecord({"levelno": logging.WARNING, "msg": "again", "route": "a"})
    assert all(sameness.filter(record) for _ in range(30))


def test_a_set_up_of_logging_that_is_the_applications_silences_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dictConfig(**_signal: object) -> None:
        logger.disabled = True

    logger = logging.getLogger("routemq_tasks.outcomes")
    for name in ("CELERY_LOG_LEVEL", "CELERY_LOG_FILE"):
        monkeypatch.setenv(name, "")
    signals.setup_logging.connect(dictConfig)
    try:
        app = RouteMQCelery(Settings(redis_url="redis://unused"), Router())
        with warnings.catch_warnings():
            app.log.setup()
    finally:
        logging.captureWarnings(False)
        signals.setup_logging.disconnect(dictConfig)
    assert not logger.disabled


@pytest.mark.parametrize("place", ["", "routemq_ingest"])
@pytest.mark.parametrize("part", ["emit", "filter"])
@pytest.mark.parametrize("kind", [OSError, asyncio.CancelledError])
def test_a_handler_that_raises_ends_nobody_who_logs(
    place: str, part: str, kind: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    handler, logger = logging.StreamHandler(), logging.getLogger("routemq_ingest.worker")

    def fail(_record: logging.LogRecord) -> NoReturn:
        raise kind("the server of the logs is away")

    setattr(handler, part, fail)
    logging.getLogger(place).addHandler(handler)
    try:
        with pytest.raises(kind, match="is away"):
            logger.error("said")
        for _ in range(2):
            unsilence()
        logger.error("said")
    finally:
        logging.getLogger(place).removeHandler(handler)
    assert capsys.readouterr().err.count("Error: the server of the logs is away") == 1


@pytest.mark.parametrize("kind", [RuntimeError, asyncio.CancelledError, SystemExit])
def test_a_fate_hangs_on_no_handler(kind: type[BaseException]) -> None:
    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> NoReturn:
            raise kind(record.getMessage())

    logger, handler = logging.getLogger("fates"), Raising()
    logger.addHandler(handler)
    with pytest.raises(kind, match="it is dead"):
        logger.error("it is dead")
    say(logger, logging.ERROR, "it is dead")
    logger.removeHandler(handler)


@pytest.mark.parametrize(("text", "route"), [("said", {"rule": "/x"}), ("said", ["r"]), ({"said": 1}, "r")])
def test_what_others_call_a_route_and_a_text_is_written(text: str, route: object) -> None:
    assert all(Sameness().filter(record(text, route=route)) for _ in range(SAME_PER_SECOND + 1))


def test_information_and_what_is_about_no_route_is_never_counted() -> None:
    sameness = Sameness()
    assert all(sameness.filter(record("busy", level=logging.INFO, route="r")) for _ in range(50))
    assert all(sameness.filter(record("redis is away")) for _ in range(50))
