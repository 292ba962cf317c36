"""A letter at the operator's desk, at a terminal as in a browser."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routemq.cli.dlq.rendering import payload_text
from routemq.dead_letters.desk import MOST_SHOWN_CHARACTERS, PayloadView, hex_dump, indented_json

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(documents)
def test_pretty_json_changes_nothing_but_white_space(document: Any) -> None:
    text = json.dumps(document)
    pretty = indented_json(text)
    assert pretty is not None
    assert json.loads(pretty) == document
    assert pretty == json.dumps(document, indent=2)


def test_numbers_are_shown_as_they_were_written() -> None:
    written = '{"a":1.50,"b":1e400,"c":12345678901234567890123,"d":[{}, []]}'
    assert indented_json(written) == (
        '{\n  "a": 1.50,\n  "b": 1e400,\n  "c": 12345678901234567890123,\n  "d": [\n    {},\n    []\n  ]\n}'
    )


@pytest.mark.parametrize(
    ("payload", "kind", "shown"),
    [
        (b"", "empty", ""),
        (b'{"a": 1}', "JSON", '{\n  "a": 1\n}'),
        (b"21.5", "JSON", "21.5"),
        (b"Online", "text", "Online"),
        (b"\x1b[2J\n", "text", "\\x1b[2J\n"),
        (b"\xff\x00A", "binary", "00000000  ff 00 41"),
    ],
)
def test_payload_is_shown_as_what_it_is(payload: bytes, kind: str, shown: str) -> None:
    found, text = payload_text(PayloadView.of(payload))
    assert found == kind
    assert text.startswith(shown)


def test_a_terminal_says_what_is_cut() -> None:
    kind, text = payload_text(PayloadView.of(b"x" * 300_000))
    assert (kind, len(text) < 33_000) == ("text", True)
    assert text.endswith("\n… of 293.0 KiB; --payload writes all of them")
    kind, text = payload_text(PayloadView.of(b"\xff" * 2000))
    assert (kind, len(text.splitlines())) == ("binary", 65)
    assert text.endswith("\n… of 2.0 KiB; --payload writes all of them")


def view_of(payload: bytes, **options: Any) -> dict[str, Any]:
    return PayloadView.of(payload, **options).as_object()


def test_json_is_indented_with_its_numbers_and_keys_as_they_were() -> None:
    text = '{"a":1e400,"a":12345678901234567890, "b" : [3.10,[],{}],"c\\u00e9":"x, {y}: \\"z\\""}'
    assert indented_json(text) == (
        '{\n  "a": 1e400,\n  "a": 12345678901234567890,\n  "b": [\n    3.10,\n    [],\n    {}\n  ],\n'
        '  "c\\u00e9": "x, {y}: \\"z\\""\n}'
    )


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"", "empty"),
        (b'{"a": 1}', "json"),
        (b'{"a": ', "text"),
        ("grüße".encode(), "text"),
        (b"\x00\x01", "binary"),
        (b"\xff\xfe", "binary"),
        (b"[" * 100_000, "text"),
    ],
)
def test_payload_is_seen_as_what_it_is(payload: bytes, kind: str) -> None:
    assert view_of(payload)["kind"] == kind


@pytest.mark.parametrize(
    "payload",
    [
        b'"' + b"x" * 300_000 + b'"',
        b"[" * 900 + b"1," * 100_000 + b"1" + b"]" * 900,
        b"\x00" * 300_000,
        b"a b " * 90_000,
    ],
    ids=["string", "deep", "binary", "text"],
)
def test_a_large_payload_is_cut_and_said_so(payload: bytes) -> None:
    view = view_of(payload)
    assert view["is_cut"]
    assert view["bytes"] == len(payload)
    shown = [view[name] for name in ("json", "text", "hex") if name in view]
    assert shown
    assert all(len(text) <= MOST_SHOWN_CHARACTERS for text in shown)


def test_the_beginning_of_a_payload_is_shown_as_what_it_is() -> None:
    assert view_of(b'{"a": "gr\xc3', size_bytes=9_000_000) == {
        "kind": "json",
        "bytes": 9_000_000,
        "is_cut": True,
        "text": '{"a": "gr',
        "json": '{\n  "a": "gr',
        "hex": hex_dump(b'{"a": "gr\xc3'),
    }
    assert view_of(b"gr\xc3", size_bytes=4)["kind"] == "text"
    assert view_of(b"gr\xc3")["kind"] == "binary"
    assert view_of(b'{"a": tru', size_bytes=10)["kind"] == "json"
    assert view_of(b"{a: 1", size_bytes=10)["kind"] == "text"


def test_looking_at_a_payload_takes_no_longer_for_more_of_it() -> None:
    began = time.process_time()
    assert view_of(b'{"a": "' + b"x" * 30_000_000 + b'"}')["kind"] == "json"
    assert time.process_time() - began < 1


def test_hex_dump_shows_offset_bytes_and_ascii() -> None:
    assert hex_dump(b"ABCDEFGHIJ\x00").splitlines() == [
        "00000000  41 42 43 44 45 46 47 48  49 4a 00                 ABCDEFGHIJ."
    ]
