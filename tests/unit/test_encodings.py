"""A text is read and written in UTF-8, whatever the locale of whoever runs the code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import REPOSITORY

FOLDERS = ("routemq", "ingest", "tasks", "dev", "app", "tests", "benchmarks")
FILES = sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))

_ARGUMENTS_BEFORE = {"read_text": 0, "write_text": 1}


def without_encoding(source: str) -> Iterator[int]:
    """Yield the lines on which the locale would decide."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        named = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        is_text = name in _ARGUMENTS_BEFORE or named.get("text") is True
        if is_text and "encoding" not in named and len(node.args) <= _ARGUMENTS_BEFORE.get(name, 99):
            yield node.lineno


@pytest.mark.parametrize("source", ["p.read_text()", "p.write_text(t)", "run(c, text=True)", "p.read_text(errors='x')"])
def test_what_the_locale_would_decide_is_found(source: str) -> None:
    assert list(without_encoding(source)) == [1]


def test_no_text_depends_on_the_locale() -> None:
    found = {path: list(without_encoding(path.read_text("utf-8"))) for path in FILES}
    assert {str(Path(path).relative_to(REPOSITORY)): lines for path, lines in found.items() if lines} == {}
