"""Annotations mean the same however they are written: this module's are text, and some are so twice."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import BaseModel

from routemq import Batch, Client, Message, Router
from routemq.asyncapi import asyncapi_document
from routemq.errors import RouteError
from routemq.testing import Dead, deliver

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal


class Reading(BaseModel):
    temperature: float


def quoted(device: "int", payload: "Reading", c: "Client", m: "Message") -> "Reading":  # noqa: UP037  what is tried
    c.publish("seen", [device, m.topic])
    return payload


def nested(payload: list["Reading"] | dict[str, "Reading"]) -> Any:  # noqa: UP037
    assert isinstance(payload, list)
    return payload[0]


def noted(payload: Annotated["Reading", "of a sensor"], m: Annotated[Message, 1] | None = None) -> Any:  # noqa: UP037
    assert m is not None
    return payload


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return run


class Instance:
    def __call__(self, payload: "Reading") -> Any:  # noqa: UP037
        return payload


def of_none(payload: None) -> Any:
    return payload


READING, MANY = b'{"temperature":1.0}', b'[{"temperature":1.0}]'


@pytest.mark.parametrize(
    ("controller", "payload"),
    [
        (quoted, READING),
        (nested, MANY),
        (noted, READING),
        (wrapped(quoted), READING),
        (functools.partial(nested), MANY),
        (Instance(), READING),
        (Instance().__call__, READING),
    ],
)
def test_an_annotation_in_quotation_marks_is_the_type_that_it_names(
    controller: Callable[..., Any], payload: bytes
) -> None:
    router = Router()
    router.on("d/{device}", controller, reply=True, name="d")
    assert asyncapi_document(router, title="t", version="1", servers={})
    result = deliver(router, "d/7", payload, response_topic="answer").check()
    assert result.published[-1].payload == READING
    assert deliver(router, "d/7", {"temperature": "warm"}).outcome == Dead("invalid")


def test_lists_of_a_batch_may_be_in_quotation_marks() -> None:
    def run(payloads: "list[Reading]", those: list["Message"]) -> None:  # noqa: UP037
        assert [payloads[0].temperature, those[0].topic] == [1.0, "b"]

    router = Router()
    router.on("b", run, batch=Batch(max_messages=2))
    deliver(router, "b", READING).check()


def test_none_is_no_type() -> None:
    router = Router()
    router.on("a", of_none)
    deliver(router, "a", b"{}").check()


def test_a_name_that_only_type_checkers_have_is_told_with_what_to_do() -> None:
    def run(payload: Decimal) -> None:
        pytest.fail(f"it is run with {payload}")

    def broken(payload: "list[") -> None:  # type: ignore[valid-type]  # noqa: F722
        pytest.fail(f"it is run with {payload}")

    for controller, problem in ((run, "NameError: name 'Decimal'"), (broken, "SyntaxError")):
        with pytest.raises(RouteError, match=rf"{problem}.*not under TYPE_CHECKING alone"):
            Router().on("a", controller)


def test_a_misspelt_import_is_seen_by_python_and_by_type_checkers() -> None:
    with pytest.raises(ImportError, match="Contrller"):
        from routemq import Contrller  # type: ignore[attr-defined]  # noqa: F401
    with pytest.raises(ImportError, match="TestAp"):
        from routemq.testing import TestAp  # type: ignore[attr-defined]  # noqa: F401
