"""What a controller gets for its payload, by its annotation."""

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, Field, Json, RootModel, StrictBool, TypeAdapter, model_validator

from routemq import Message
from routemq.envelope import Envelope
from routemq.errors import InvalidMessageError
from routemq.payloads import AnnotatedPayload, json_else_text_else_bytes


class Reading(BaseModel):
    temperature: float


class State(StrEnum):
    ONLINE = "Online"


class Line(IntEnum):
    FIRST = 1


def split(value: Any) -> Any:
    return {"temperature": value.partition(";")[0]} if isinstance(value, str) else value


Presence = Literal["Online", "Offline"]
Name = NewType("Name", str)
Short = Annotated[str, Field(max_length=6)]
Csv = Annotated[Reading, BeforeValidator(split)]
WARM = Reading(temperature=21.5)


@pytest.mark.parametrize(
    ("annotation", "payload", "value"),
    [
        (Presence, b"Online", "Online"),
        (Presence, b'"Online"', "Online"),
        (Literal["1", "0"], b"1", "1"),
        (Literal[1, 0], b"1", 1),
        (State, b"Online", State.ONLINE),
        (State, b' "Online" ', State.ONLINE),
        (Line, b"1", Line.FIRST),
        (Short, b"Online", "Online"),
        (Short, b'"Online"', "Online"),
        (Short, b"21.5", "21.5"),
        (Name, "grün".encode(), "grün"),
        (str | None, b"Online", "Online"),
        (str | None, b"null", None),
        (str | None, b"true", "true"),
        (str | None, b"21.50", "21.50"),
        (str | None, b'{"a": [1}', '{"a": [1}'),
        (str | None, b'{"a": 1}', '{"a": 1}'),
        (str | None, b"", ""),
        (bytes | None, b"\xff", b"\xff"),
        (bytes | None, b"[1]", b"[1]"),
        (Reading | str, b'{"temperature": 21.5}', WARM),
        (Reading | str, b"Online", "Online"),
        (Reading | str, b"", ""),
        (Reading | bytes, b'{"temperature": 21.5}', WARM),
        (Reading | bytes, b"\xff\x00", b"\xff\x00"),
        (Reading | bytes, b"Online", b"Online"),
        (Reading | Presence, b"Offline", "Offline"),
        (Reading | None, b"null", None),
        (Csv, b"21.5;60", WARM),
        (Csv, b'{"temperature": 21.5}', WARM),
        (Json[Reading], b'{"temperature": 21.5}', WARM),
        (int, b"42\r\n", 42),
        (int, b"042", 42),
        (int | str, b"042", "042"),
        (float | str, b"21.5", 21.5),
        (float | str, b"Online", "Online"),
        (bool, b"true", True),
        (bool, b"OFF", False),
        (bool | str, b"OFF", "OFF"),
        (datetime, b"2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        (datetime, b"1769860800", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        (date, b"2026-01-31", date(2026, 1, 31)),
        (time, b"12:30", time(12, 30)),
        (timedelta, b"PT5M", timedelta(minutes=5)),
        (UUID, b"00000000-0000-0000-0000-00000000000a", UUID(int=10)),
        (UUID, b"12345678123456781234567812345678", UUID("12345678123456781234567812345678")),
        (Decimal, b"12345678901234567890.10", Decimal("12345678901234567890.10")),
        (Decimal, b' "1.10" ', Decimal("1.10")),
        (Decimal | None, b"0.1234567890123456789", Decimal("0.1234567890123456789")),
        (Path, b"/var/log", Path("/var/log")),
        (IPv4Address, b"10.0.0.1", IPv4Address("10.0.0.1")),
        (list[int] | str, b"[1, 2]", [1, 2]),
        (object, b"Online", "Online"),
    ],
)
def test_json_where_it_is_json_else_the_text(annotation: Any, payload: bytes, value: object) -> None:
    result = AnnotatedPayload(TypeAdapter(annotation))(payload)
    assert (result, type(result), str(result)) == (value, type(value), str(value))


@pytest.mark.parametrize(
    ("annotation", "payload", "problem"),
    [
        (Presence, b"online", "Input should be 'Online' or 'Offline'"),
        (Presence, b"", "empty: Input should be 'Online' or 'Offline'"),
        (Presence, b"\xc3\x28", "not UTF-8 text (byte 0)"),
        (Presence, b"Online\0", "Input should be 'Online' or 'Offline'; it ends with a NUL byte"),
        (Presence, b"Online\n", "Input should be 'Online' or 'Offline'; it ends with a line feed"),
        (Presence, b"\xef\xbb\xbfOnline", "; it begins with a byte order mark, EF BB BF"),
        (Presence, "Online".encode("utf-16"), "not UTF-8 text (byte 0); it begins with FF FE, as UTF-16 does"),
        (State, "Online".encode("utf-16-le"), "; it has NUL bytes in it, as UTF-16 without a byte order mark has"),
        (State, "Online\u200b".encode(), "; it ends with U+200B (ZERO WIDTH SPACE)"),
        (State, b"  ", "; it is white space alone"),
        (Reading, b"", "empty, where JSON is expected"),
        (Reading | None, b"", "empty, where JSON is expected"),
        (Reading, b'\xef\xbb\xbf{"temperature": 1}', "Invalid JSON: expected value at line 1 column 1; it begins"),
        (Reading, b'{"temperature": 1}\0', "Invalid JSON: trailing characters at line 1 column 19; it ends with a NUL"),
        (Reading, b'{"temperature": 1,}', "Invalid JSON: trailing comma"),
        (Reading, b"Online", "Invalid JSON: expected value"),
        (Reading | str, b'{"temperature": "hot"}', "Reading.temperature: Input should be a valid number"),
        (Reading | bytes, b"[]", "Reading: Input should be an object"),
        (bool, b"OPEN", "Input should be a valid boolean"),
        (StrictBool, b"ON", "Input should be a valid boolean"),
        (int, b"4x", "Input should be a valid integer"),
        (UUID, bytes(range(200, 216)), "not UTF-8 text (byte 0)"),
        (Path, b"", "empty"),
        (Annotated[str, BeforeValidator({"a": 1}.__getitem__)], b"secret", "KeyError in a validator"),
        (Annotated[Reading, BeforeValidator(lambda value: value["x"])], b"{secret", "Invalid JSON"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_what_nobody_sees(annotation: Any, payload: bytes, problem: str) -> None:
    with pytest.raises(InvalidMessageError) as caught:
        AnnotatedPayload(TypeAdapter(annotation))(payload)
    assert problem in caught.value.problem
    assert "secret" not in caught.value.problem


@pytest.mark.parametrize("payload", [b'{"temperature": NaN}', b'{"temperature": [-Infinity]}'])
@pytest.mark.parametrize("annotation", [Reading, dict[str, Any], dict, Reading | None])
def test_nan_is_no_json_for_any_annotation(annotation: Any, payload: bytes) -> None:
    message = Message(id="m", route="r", envelope=Envelope(topic="t", payload=payload))
    with pytest.raises(InvalidMessageError, match="NaN and Infinity are no JSON"):
        AnnotatedPayload(TypeAdapter(annotation))(payload)
    with pytest.raises(InvalidMessageError):
        message.json()
    assert json_else_text_else_bytes(message) == payload.decode()


def test_the_words_nan_and_infinity_may_be_in_a_text() -> None:
    assert AnnotatedPayload(TypeAdapter(dict[str, str]))(b'{"name": "NaN of Infinity"}') == {"name": "NaN of Infinity"}
    assert math.isnan(AnnotatedPayload(TypeAdapter(float))(b"NaN"))


@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_payload_is_read_or_refused_in_words(payload: bytes) -> None:
    for annotation in (Presence, Reading, str | None, Reading | bytes, Decimal, datetime, UUID, Csv, object):
        try:
            AnnotatedPayload(TypeAdapter(annotation))(payload)
        except InvalidMessageError as exc:
            assert exc.problem  # noqa: PT017  that it raises is not asked for; what it says is


def test_a_plain_model_is_known_without_its_schema_which_costs_a_worker_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TypeAdapter, "json_schema", lambda _self: pytest.fail("described"))
    with pytest.raises(InvalidMessageError, match="temperature: Input should be a valid number"):
        AnnotatedPayload(TypeAdapter(Reading))(b'{"temperature": "warm"}')


class Listed(Reading):
    """It describes itself as text, and takes a list for one."""

    @model_validator(mode="before")
    @classmethod
    def of_text(cls, value: Any) -> Any:
        return {"temperature": value.strip("[]")} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> Any:
        return {"type": "string"}


class Whole(RootModel[str]):
    pass


@pytest.mark.parametrize(("model", "value"), [(Listed, {"temperature": 21.5}), (Whole, "[21.5]")])
def test_a_model_that_describes_itself_as_text_gets_the_text(model: type[BaseModel], value: Any) -> None:
    assert AnnotatedPayload(TypeAdapter(model))(b"[21.5]").model_dump() == value
