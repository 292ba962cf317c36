"""The last line of defence: whatever is logged, by whomever, with whatever a message held."""

import logging

import pytest
from routemq_tasks.worker_log import PrintableColorFormatter, PrintableTaskFormatter

from routemq.logs import LOG_FORMAT, PrintableFormatter

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
