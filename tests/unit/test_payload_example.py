from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from google.protobuf.wrappers_pb2 import Int64Value
from pydantic import BaseModel, Field, PositiveInt, field_validator

from routemq import Batch, Router
from routemq.payload_example import example_payload, example_topic
from routemq.testing import Done, deliver


class Kind(StrEnum):
    HOT = "hot"


class Part(BaseModel):
    at: datetime
    kind: Kind
    sizes: list[PositiveInt] = Field(min_length=2)


class Whole(BaseModel):
    part: Part
    serial: UUID
    share: Annotated[float, Field(gt=0, lt=1)]
    pair: tuple[int, str]
    name: str = Field(min_length=7, max_length=9)
    word: Literal["on", "off"]
    maybe: int | None = None


class Tree(BaseModel):
    children: "list[Tree]"


class Strict(BaseModel):
    code: str

    @field_validator("code")
    @classmethod
    def none_fits(cls, value: str) -> str:
        raise ValueError(value)


@pytest.mark.parametrize(
    "annotation", [Whole, Any, str, bytes, dict[str, int], list[Part], int, float, bool, Kind, Literal["a"], int | str]
)
def test_an_example_is_taken_by_its_controller(annotation: Any) -> None:
    def controller(payload) -> None: ...  # type: ignore[no-untyped-def]

    controller.__annotations__["payload"] = annotation
    router = Router()
    route = router.on("a", controller)
    assert deliver(router, "a", example_payload(route)).outcome == Done()


@pytest.mark.parametrize("annotation", [Tree, Strict])
def test_where_none_can_be_made_up_it_is_a_generic_one(annotation: Any) -> None:
    def controller(payload) -> None: ...  # type: ignore[no-untyped-def]

    controller.__annotations__["payload"] = annotation
    assert example_payload(Router().on("a", controller)) == '{"hello": "world"}'


def test_a_controller_that_is_not_there_has_a_generic_one() -> None:
    assert example_payload(Router().on("a", "nowhere:Controller.run")) == '{"hello": "world"}'


@pytest.mark.parametrize(
    "annotation", [Any, str, int, float, UUID, date, bool, Kind, Literal["a"], PositiveInt, int | None]
)
def test_an_example_of_a_topic_is_taken_too(annotation: Any) -> None:
    def controller(level) -> None: ...  # type: ignore[no-untyped-def]

    controller.__annotations__["level"] = annotation
    router = Router()
    for topic in ("a/{level}", "b/{level:path}", "c/+/{level}/#"):
        route = router.on(topic, controller)
        assert deliver(router, example_topic(route)).outcome == Done(), example_topic(route)
    # As readers of the documentation know them.
    assert annotation is not str or example_topic(router.routes[0]) == "a/l1"


def test_examples_for_a_batch_are_of_one_message() -> None:
    def controller(payloads: list[Part], level: list[int]) -> None: ...

    router = Router()
    route = router.on("a/{level}", controller, batch=Batch())
    assert deliver(router, example_topic(route), example_payload(route)).outcome == Done()


@pytest.mark.parametrize(
    ("codec", "typed"),
    [("json", True), ({"*": "json", "application/cbor": "cbor"}, True), ("cbor", False), ({"*": "cbor"}, False)],
)
def test_there_is_an_example_where_somebody_can_type_one(codec: Any, typed: bool) -> None:
    def controller(payload: dict[str, int]) -> None: ...

    router = Router()
    example = example_payload(router.on("a", controller, codec=codec))
    assert (example is not None) == typed
    assert example is None or deliver(router, "a", example).outcome == Done()


def test_nobody_can_type_a_protobuf() -> None:
    def controller(payload: Int64Value) -> None: ...

    assert example_payload(Router().on("a", controller)) is None
