"""List items are read as kombu reads them, whatever is skipped to be quick."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.json import dumps, loads
from routemq_transport.item_reading import loads_exactly

TEXTS = st.text('a"\\{}:,0123456789ü _type') | st.sampled_from(['"__type__"', "9" * 30, '\\"'])
VALUES = st.recursive(
    TEXTS | st.integers(-(10**25), 10**25) | st.none(), lambda each: st.dictionaries(TEXTS, each), max_leaves=10
)


@given(TEXTS, st.dictionaries(TEXTS, VALUES), st.booleans())
def test_what_is_read_is_what_kombu_reads(body: str, others: dict[str, Any], is_dense: bool) -> None:
    text = json.dumps({"body": body, **others}, separators=(",", ":") if is_dense else None).encode()
    try:
        expected = loads(text.decode())
    except Exception as exc:  # noqa: BLE001  a typed value without a type is what kombu does not read
        with pytest.raises(type(exc)):
            loads_exactly(text)
    else:
        assert loads_exactly(text) == expected


def test_what_stands_behind_the_body_is_looked_at() -> None:
    assert loads_exactly(b'{"body":"x","n":100000000000000000000}') == {"body": "x", "n": 10**20}
    at = datetime(2026, 1, 2, tzinfo=UTC)
    text = dumps({"body": "x", "at": at}).replace('{"body": ', '{"body":')
    assert "__type__" in text
    assert loads_exactly(text.encode()) == {"body": "x", "at": at}


@pytest.mark.parametrize("text", [b'{"body":"', b'{"body":"x', b'{"body":"\\"', b'{"body":"x"'])
def test_what_ends_within_its_body_is_no_json(text: bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        loads_exactly(text)
