"""A topic and a payload that a controller takes, made from its annotations: for a command that somebody copies."""

import contextlib
import json
from typing import Any, get_args

import pydantic

from routemq.controllers import resolve
from routemq.route import Route
from routemq.signatures import signature_of

_ANY = ("+", "#")
_GENERIC = '{"hello": "world"}'
_DEEPEST = 8
_OF_FORMAT = {
    "date-time": "2026-01-01T12:00:00Z", "date": "2026-01-01", "time": "12:00:00", "duration": "PT1S",
    "uuid": "00000000-0000-4000-8000-000000000000", "email": "a@example.org", "uri": "https://example.org",
    "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
}  # fmt: skip


def example_payload(route: Route) -> str | None:
    """Return a payload for a route's controller, which is imported; a generic one where none can be made up.

    None where nobody can type one: the route takes CBOR, protobuf or another format of bytes.
    """
    if route.codec is not None and not route.codec.takes_json:
        return None
    try:
        annotation = _annotation(route, "payload" if route.batch is None else "payloads")
        if hasattr(annotation, "DESCRIPTOR"):
            return None
        if annotation in (str, bytes):
            return "hello"
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(annotation)
        text = json.dumps(_example(adapter), ensure_ascii=False)
        adapter.validate_json(text)
        return text
    # A user's model may refuse, or raise, whatever it likes: it is no more than an example.
    except Exception:  # noqa: BLE001
        return _GENERIC


def example_topic(route: Route) -> str:
    """Return a topic of a route whose parameters its controller takes, as far as they can be made up."""
    levels = []
    for level in route.template.text.split("/"):
        name, _, converter = level.strip("{}").partition(":")
        # A wildcard without a name stands for any level.
        levels.append(
            _example_level(route, name, converter) if level.startswith("{") else "x" if level in _ANY else level
        )
    return "/".join(levels)


def _example_level(route: Route, name: str, converter: str) -> str:
    usual = "1" if converter in ("int", "float") else f"{name[:1]}1"
    try:
        annotation = _annotation(route, name)
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(annotation)
        for text in (usual, str(_example(adapter))):
            with contextlib.suppress(pydantic.ValidationError):
                adapter.validate_python(text)
                return text if text and not set(text) & set("/+#") else usual
        return usual
    except Exception:  # noqa: BLE001  as above
        return usual


def _annotation(route: Route, name: str) -> Any:
    """Return what a controller wants under a name, of one message."""
    parameter = signature_of(resolve(route.handler)).parameters.get(name)
    if parameter is None or parameter.annotation is parameter.empty:
        return Any
    return parameter.annotation if route.batch is None else get_args(parameter.annotation)[0]


def _example(adapter: pydantic.TypeAdapter[Any]) -> Any:
    schema = adapter.json_schema()
    return _Examples(schema).of(schema)


class _Examples:
    """Makes one value that fits a JSON schema, with the definitions that it refers to."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._named = schema.get("$defs", {})

    def of(self, schema: Any, depth: int = 0) -> Any:
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return None
        for one_of_them in ("examples", "enum"):
            if schema.get(one_of_them):
                return schema[one_of_them][0]
        for the_one in ("const", "default"):
            if the_one in schema:
                return schema[the_one]
        other = self._other(schema)
        return self._made(schema, depth + 1) if other is None else self.of(other, depth + 1)

    def _other(self, schema: dict[str, Any]) -> Any:
        """Return the schema that stands behind this one."""
        if "$ref" in schema:
            return self._named[schema["$ref"].rpartition("/")[2]]
        return next((schema[choice][0] for choice in ("anyOf", "oneOf", "allOf") if schema.get(choice)), None)

    def _made(self, schema: dict[str, Any], depth: int) -> Any:
        kind = schema.get("type", "object")
        if kind == "object":
            parts = schema.get("properties", {"hello": schema.get("additionalProperties", {"const": "world"})})
            required = schema.get("required", () if "properties" in schema else parts)
            return {name: self.of(part, depth) for name, part in parts.items() if name in required}
        if kind == "array":
            parts = schema.get("prefixItems") or [schema.get("items", {})] * max(1, schema.get("minItems", 0))
            return [self.of(part, depth) for part in parts]
        if kind == "string":
            text = _OF_FORMAT.get(schema.get("format", ""), "hello".ljust(schema.get("minLength", 0), "o"))
            return text[: schema.get("maxLength")]
        return _number(schema, whole=kind == "integer") if kind in ("integer", "number") else kind == "boolean" or None


def _number(schema: dict[str, Any], *, whole: bool) -> Any:
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    found: Any = 1 if whole else 21.5
    if least is not None and most is not None:
        found = (least + most) // 2 if whole else (least + most) / 2
    elif least is not None:
        found = least + 1
    elif most is not None:
        found = most - 1
    step = schema.get("multipleOf")
    return step * max(1, round(found / step)) if step else found
