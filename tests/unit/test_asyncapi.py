"""`routemq asyncapi`: a document that the specification's own schema takes, and a page that shows it."""

import contextlib
import enum
import gzip
import json
import math
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from google.protobuf.wrappers_pb2 import Int64Value
from pydantic import BaseModel, ConfigDict, Field

from routemq import Batch, Client, Reply, Router
from routemq.asyncapi import asyncapi_document
from routemq.asyncapi_page import page
from routemq.cli import main
from routemq.cli.asyncapi_file import written
from routemq.errors import RouteError
from tests.servers import REPOSITORY


class Node(BaseModel):
    children: "list[Node]" = []
    label: str | None = Field(default=None, description="</pre><script>alert(1)</script>")


class Answer(BaseModel):
    ok: bool = True


def another() -> type[BaseModel]:
    class Answer(BaseModel):
        number: int

    return Answer


Other = another()


class Cat(BaseModel):
    kind: Literal["cat"]
    position: tuple[float, float]


class Dog(BaseModel):
    kind: Literal["dog"]
    discriminator: str


class Span(NamedTuple):
    first: int
    last: int = 0


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


def chosen(payload: Pet | Span) -> tuple[str, int]:
    raise NotImplementedError


def tree(node: str, payload: Node, client: Client) -> Answer:
    """Keep a <b>tree</b>.

    In more
    words.
    """
    return Answer()


def many(payloads: list[Node]) -> None: ...


def raw(rest: str, payload: bytes) -> None: ...


def text(payload: str) -> str:
    return payload


def open_(line: int, payload) -> None:  # type: ignore[no-untyped-def]
    ...


def nothing() -> None: ...


def protobuf(payload: Int64Value) -> Int64Value:
    return payload


def application() -> Router:
    router = Router()
    publishes = {"answers/{node}/late": Answer, "others/+": Other, "numbers": list[int], "pb": Int64Value}
    router.on("trees/{node}", tree, reply=Reply(within="answers/{node}/{rest:path}"), publishes=publishes)
    router.on("many/#", many, batch=Batch(), codec="cbor")
    router.on("raw/{rest:path}", raw, qos=0, shared=True)
    router.on("+/text", text, reply=True, name="trees {node}")
    router.on("lines/{line:int}", open_, codec={"application/msgpack": "msgpack", "*": "json"})
    router.on("nothing", nothing, codec="sparkplug")
    router.on("protobuf", protobuf, reply=True)
    return router


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    servers = {"mqtt": {"host": "broker:1883", "protocol": "mqtt"}}
    return asyncapi_document(application(), title="A <plant>", version="1.2.3", servers=servers)


def references(found: Any) -> Iterator[str]:
    if isinstance(found, dict):
        if isinstance(found.get("$ref"), str):
            yield found["$ref"]
        for each in found.values():
            yield from references(each)
    elif isinstance(found, list):
        for each in found:
            yield from references(each)


def at(document: Any, reference: str) -> Any:
    found = document
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return found


def test_the_specifications_schema_takes_it_and_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schema = json.loads(gzip.decompress((REPOSITORY / "tests/schemas/asyncapi-3.0.0.json.gz").read_bytes()))
    jsonschema.Draft7Validator(schema).validate(document)
    jsonschema.Draft7Validator(schema).validate(asyncapi_document(Router(), title="", version="0", servers={}))
    assert [reference for reference in references(document) if not at(document, reference)] == []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema).validate({**document, "operations": {"x": {"action": "nothing"}}})


def test_choices_and_tuples_are_written_as_draft_7_has_them() -> None:
    router = Router()
    router.on("chosen", chosen, reply=True)
    document = asyncapi_document(router, title="", version="0", servers={})
    specified = json.loads(gzip.decompress((REPOSITORY / "tests/schemas/asyncapi-3.0.0.json.gz").read_bytes()))
    jsonschema.Draft7Validator(specified).validate(document)
    schemas, messages = document["components"]["schemas"], document["components"]["messages"]
    assert messages["chosen"]["payload"]["anyOf"][0] == {
        "oneOf": [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}]
    }
    assert [each["type"] for each in schemas["Cat"]["properties"]["position"]["items"]] == ["number", "number"]
    assert "discriminator" in schemas["Dog"]["properties"]
    assert [each["type"] for each in schemas["Span"]["items"]] == ["integer", "integer"]
    assert messages["chosen.reply"]["payload"]["items"] == [{"type": "string"}, {"type": "integer"}]
    assert "prefixItems" not in json.dumps(document)


def test_it_says_what_the_routes_say(document: dict[str, Any]) -> None:
    channels, operations = document["channels"], document["operations"]
    assert [channel["address"] for channel in channels.values()] == [
        "trees/{node}", "answers/{node}/{rest}", "answers/{node}/late", "others/{level2}", "numbers", "pb",
        "many/{level2}", "raw/{rest}", "{level1}/text", None, "lines/{line}", "nothing", "protobuf", None,
    ]  # fmt: skip
    assert channels["raw_rest_path"]["parameters"] == {"rest": {"description": "all levels that follow"}}
    assert [each["action"] for each in operations.values()].count("send") == 4
    received = operations["receive.trees_node"]
    assert (received["summary"], received["description"]) == ("Keep a <b>tree</b>.", "In more\nwords.")
    assert received["reply"]["address"] == {"location": "$message.header#/responseTopic"}
    types = [message["contentType"] for message in document["components"]["messages"].values()]
    assert types == [
        "application/json", "application/json", "application/json", "application/json", "application/json",
        "application/x-protobuf", "application/cbor", "application/octet-stream", "text/plain", "text/plain",
        "application/msgpack", "application/octet-stream", "application/x-protobuf", "application/x-protobuf",
    ]  # fmt: skip
    # Two models of one name, and one that holds itself.
    schemas = document["components"]["schemas"]
    assert len([name for name in schemas if name.endswith("Answer")]) == 2
    assert "Node" in schemas


class Read(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert [value for name, value in attrs if name in ("src", "href", "onclick")] == []

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_shows_all_of_it_as_text(document: dict[str, Any]) -> None:
    read = Read()
    read.feed(page(document))
    assert "script" not in read.tags
    assert "b" not in read.tags
    assert all(word in read.words for word in ("A <plant>", "Keep a <b>tree</b>.", "</pre><script>alert(1)</script>"))
    assert all(channel["address"] in read.words for channel in document["channels"].values() if channel["address"])


def test_yaml_and_json_say_the_same_of_what_json_has_no_word_for() -> None:
    document = {"default": math.inf, "maximum": 10**30, "enum": ["ü", None]}
    found = yaml.safe_load(written(document))
    assert found == json.loads(written(document, as_json=True)) == document | {"default": None}


def test_the_command_writes_yaml_json_or_a_page() -> None:
    with contextlib.chdir(REPOSITORY):
        written = {
            form: CliRunner(env={"MQTT_BROKER": "mqtt.example"}).invoke(main, ["asyncapi", *form.split()]).output
            for form in ("", "--json", "--html", "--no-server --title Ours --api-version 2")
        }
    document = yaml.safe_load(written[""])
    assert document == json.loads(written["--json"])
    assert document["servers"] == {"mqtt": {"host": "mqtt.example:1883", "protocol": "mqtt"}}
    assert document["channels"]["sensors_device_id_data"]["address"] == "sensors/{device_id}/data"
    assert written["--html"].startswith("<!doctype html>")
    other = yaml.safe_load(written["--no-server --title Ours --api-version 2"])
    assert (other["info"], "servers" in other) == ({"title": "Ours", "version": "2"}, False)


@pytest.mark.parametrize("publishes", [{"a/#/b": int}, {3: int}, ["a"], {"a": object()}])
def test_a_route_that_publishes_what_nobody_can_is_not_made(publishes: Any) -> None:
    with pytest.raises(RouteError, match="publishes="):
        Router().on("a", nothing, publishes=publishes)


class OfObjects(enum.Enum):
    ONE = object()


class ToldWrongly(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": object()})  # type: ignore[dict-item]


@pytest.mark.parametrize("annotation", [OfObjects, ToldWrongly])
def test_a_schema_that_cannot_be_written_is_told_with_its_route(annotation: Any) -> None:
    def strange(payload: Any) -> None: ...

    strange.__annotations__["payload"] = annotation
    router = Router()
    router.on("strange", strange)
    with pytest.raises(RouteError, match=r"test_asyncapi\.py:\d+: route 'strange': a payload of it has no JSON schema"):
        asyncapi_document(router, title="", version="", servers={})


def test_a_payload_without_a_schema_is_told_with_its_route() -> None:
    class Strange:
        @classmethod
        def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
            from pydantic_core import core_schema

            return core_schema.is_instance_schema(cls)

    def strange(payload: Strange) -> None: ...

    strange.__annotations__["payload"] = Strange
    router = Router()
    router.on("strange", strange)
    with pytest.raises(RouteError, match=r"test_asyncapi\.py:\d+: route 'strange': a payload of it has no JSON schema"):
        asyncapi_document(router, title="", version="", servers={})


def write_for_the_official_parser(path: Path) -> None:
    """`node` with `@asyncapi/parser` reads what this writes; it comes from npm, and no test asks for the network."""
    servers = {"mqtt": {"host": "broker:1883", "protocol": "mqtt"}}
    path.write_text(json.dumps(asyncapi_document(application(), title="A", version="1", servers=servers)), "utf-8")


def test_half_a_character_is_replaced_wherever_it_stands() -> None:
    def handle(payload: bytes) -> None:
        """Say \ud834."""

    router = Router()
    router.on("a", handle, shared=True)
    found = asyncapi_document(router, title="\udc80", version="1", servers={})
    assert json.loads(json.dumps(found).encode()) == found
    assert "\\ud" not in json.dumps(found)
    assert found["info"]["title"] == "?"
    assert page(found).encode()
