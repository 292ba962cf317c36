"""The application's topics and payloads as an AsyncAPI 3.0 document, made of what its routes say already."""

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

import pydantic
from pydantic.json_schema import JsonSchemaMode
from pydantic_core import to_json

from routemq.controllers import resolve
from routemq.errors import RouteError
from routemq.route import Route
from routemq.routing import Router
from routemq.signatures import signature_of
from routemq.topics import TopicTemplate

_PLAIN_TYPES: dict[Any, str] = {str: "text/plain", bytes: "application/octet-stream", None: "application/octet-stream"}
_OPEN = (Any, inspect.Parameter.empty)


def asyncapi_document(router: Router, *, title: str, version: str, servers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document: the application receives what its routes take, and sends what it answers and publishes.

    Args:
        servers: As AsyncAPI has them, by name.

    Raises:
        RouteError: A controller cannot be imported, or the type of a payload has no JSON schema.
    """
    described = _Description()
    for route in router.routes:
        described.add(route)
    messages, schemas = described.finished()
    document: dict[str, Any] = _encodable(
        {
            "asyncapi": "3.0.0",
            "info": {"title": title, "version": version},
            "defaultContentType": "application/json",
            **({"servers": dict(servers)} if servers else {}),
            "channels": described.channels,
            "operations": described.operations,
            "components": {"messages": messages, **({"schemas": schemas} if schemas else {})},
        }
    )
    return document


def _of_draft_7(value: Any) -> Any:
    """Return pydantic's schemas in AsyncAPI's dialect: draft 7, where those are OpenAPI's of draft 2020-12."""
    if isinstance(value, list):
        return [_of_draft_7(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {name: _of_draft_7(inner) for name, inner in value.items()}
    # A tuple's parts. A property of such a name is a schema, and no list.
    if isinstance(found.get("prefixItems"), list):
        found["items"] = found.pop("prefixItems")
    # AsyncAPI means something else by it; the constants of the choices tell them apart.
    told = found.get("discriminator")
    if "oneOf" in found and isinstance(told, dict) and "propertyName" in told:
        del found["discriminator"]
    return found


def _encodable(value: Any) -> Any:
    """Replace what no file can hold: half a character (a lone surrogate) in a docstring, a title, a field's name."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(name): _encodable(inner) for name, inner in value.items()}
    return [_encodable(inner) for inner in value] if isinstance(value, list) else value


class _Description:
    """What was read of the routes so far; the schemas of all payloads are made at the end, so that names are shared."""

    def __init__(self) -> None:
        self.channels: dict[str, Any] = {}
        self.operations: dict[str, Any] = {}
        self._messages: dict[str, Any] = {}
        self._types: dict[str, tuple[Route, JsonSchemaMode, pydantic.TypeAdapter[Any]]] = {}

    def add(self, route: Route) -> None:
        """Describe a route, what it answers and what it says that it publishes."""
        route.chain()
        handler = resolve(route.handler)
        signature, told = signature_of(handler), _told(handler)
        payload = _payload_of(signature, is_batch=route.batch is not None)
        received = self._message(route, route.name, payload, "validation", codec_types=route.codec_types, told=told)
        channel = self._channel(route.name, _address(route.template), received)
        operation = _operation("receive", channel, received) | told | {"bindings": {"mqtt": {"qos": route.qos}}}
        self.operations[_name(f"receive.{route.name}", self.operations)] = operation
        if route.reply is not None:
            returned, within = signature.return_annotation, route.reply.within
            name, types = f"{route.name}.reply", route.codec_types
            answer = self._message(route, name, returned, "serialization", codec_types=types)
            address = (None, {}) if within is None else _address(TopicTemplate(within))
            replies = self._channel(name, address, answer)
            operation["reply"] = {
                "address": {"location": "$message.header#/responseTopic"},
                "channel": {"$ref": f"#/channels/{replies}"},
                "messages": [{"$ref": f"#/channels/{replies}/messages/{answer}"}],
            }
        for topic, annotation in route.publishes.items():
            name = f"{route.name}.publishes.{topic}"
            sent = self._message(route, name, annotation, "serialization")
            operation = _operation("send", self._channel(name, _address(TopicTemplate(topic)), sent), sent)
            self.operations[_name(f"send.{name}", self.operations)] = operation

    def finished(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return all messages with their payloads, and the schemas that these refer to.

        Raises:
            RouteError: A payload's type has no schema.
        """
        for route, mode, adapter in self._types.values():
            try:
                to_json(adapter.json_schema(mode=mode))
            # The application's own types describe themselves, or cannot.
            except Exception as exc:
                problem = f"a payload of it has no JSON schema: {str(exc).partition(chr(10))[0]}"
                mend = "give its type a __get_pydantic_json_schema__, or annotate it otherwise"
                raise RouteError(source=route.source, route=route.name, problem=problem, mend=mend) from exc
        inputs = [(name, mode, adapter) for name, (_, mode, adapter) in self._types.items()]
        found, shared = pydantic.TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
        for (name, _), schema in found.items():
            self._messages[name]["payload"] = _of_draft_7(schema)
        return self._messages, _of_draft_7(shared.get("$defs", {}))

    def _message(
        self,
        route: Route,
        name: str,
        annotation: Any,
        mode: JsonSchemaMode,
        *,
        codec_types: tuple[str, ...] = (),
        told: Mapping[str, str] | None = None,
    ) -> str:
        message, is_protobuf = _name(name, self._messages), hasattr(annotation, "DESCRIPTOR")
        annotation = Any if is_protobuf or annotation in _OPEN else annotation
        if is_protobuf:
            content_type = "application/x-protobuf"
        else:
            plain = _PLAIN_TYPES.get(annotation) if isinstance(annotation, type | None) else None
            content_type = (*codec_types, plain or "application/json")[0]
        self._messages[message] = {"contentType": content_type, **(told or {})}
        self._types[message] = (route, mode, pydantic.TypeAdapter(annotation))
        return message

    def _channel(self, name: str, address: tuple[str | None, Mapping[str, Any]], message: str) -> str:
        channel, (topic, parameters) = _name(name, self.channels), address
        self.channels[channel] = {
            "address": topic,
            "messages": {message: {"$ref": f"#/components/messages/{message}"}},
            **({"parameters": dict(parameters)} if parameters else {}),
        }
        return channel


def _name(text: str, taken: Mapping[str, Any]) -> str:
    """Return a key for a part of the document, which a JSON pointer takes as it is."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_") or "route"
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}_{number}", number + 1
    return name


def _operation(action: str, channel: str, message: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
    }


def _address(template: TopicTemplate) -> tuple[str, dict[str, Any]]:
    """Return a topic with each of its variable levels as `{name}`, and what there is to say of these."""
    named = iter(template.parameters.items())
    parameters: dict[str, Any] = {}
    levels: list[str] = []
    for number, level in enumerate(template.text.split("/"), 1):
        name, converter = None, "path" if level == "#" else "str"
        if level in ("+", "#"):
            name = f"level{number}"
        elif level.startswith("{"):
            name, converter = next(named)
        if name is not None:
            what = {"str": "one level", "path": "all levels that follow"}.get(converter, f"one level, {converter}")
            parameters[name] = {"description": what}
        levels.append(level if name is None else f"{{{name}}}")
    return "/".join(levels), parameters


def _payload_of(signature: inspect.Signature, *, is_batch: bool) -> Any:
    parameter = signature.parameters.get("payloads" if is_batch else "payload")
    if parameter is None:
        return Any
    return (*typing.get_args(parameter.annotation), Any)[0] if is_batch else parameter.annotation


def _told(handler: Callable[..., Any]) -> dict[str, str]:
    summary, _, rest = (inspect.getdoc(handler) or "").partition("\n\n")
    told = {"summary": " ".join(summary.split()), "description": rest.strip()}
    return {name: text for name, text in told.items() if text}
