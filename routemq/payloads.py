"""What a controller gets for `payload`: its annotation decides."""

import functools
import warnings
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson
import pydantic
from pydantic_core import from_json

from routemq.errors import InvalidMessageError
from routemq.message import Message
from routemq.unseen import with_unseen

_MAX_SUMMARY_CHARACTERS = 500
_NAN, _INFINITY = b"NaN", b"Infinity"
"""Python writes them and pydantic reads them, and no JSON has them."""


def json_else_text_else_bytes(message: Message) -> Any:
    """Return the payload for a controller that does not say what it wants."""
    try:
        return message.json()
    except InvalidMessageError:
        try:
            return message.text()
        except InvalidMessageError:
            return message.payload


@dataclass(frozen=True)
class AnnotatedPayload:
    """Reads payloads as JSON, where they are JSON that fits the annotation, else as text.

    A text is what it would be as a JSON string, so `Online` and `"Online"` are the same to an annotation. JSON objects
    and arrays are text only for an annotation that has no place for any: one that does not fit a model is no text.
    """

    adapter: pydantic.TypeAdapter[Any]

    def __call__(self, payload: bytes) -> Any:
        """Return what the controller gets.

        Raises:
            InvalidMessageError: The annotation takes it neither as JSON nor as text.
        """
        try:
            return self._from_json(payload)
        except pydantic.ValidationError as exc:
            as_json = summary(exc)
        except ValueError as exc:
            as_json = f"Invalid JSON: {exc}; NaN and Infinity are no JSON"
        if self._takes_structures and _is_structure(payload):
            raise InvalidMessageError(part="payload", problem=as_json)
        try:
            value = self._from_text(payload)
            # Not Path("."), which nobody sent.
            if payload or isinstance(value, str | bytes):
                return value
            as_text = "it stands for nothing here"
        except UnicodeDecodeError as exc:
            if self._takes_bytes(payload):
                return payload
            as_text = f"not UTF-8 text (byte {exc.start})"
        except pydantic.ValidationError as exc:
            as_text = summary(exc)
        # A validator that was written for JSON alone may raise anything when it is given a text.
        except Exception as exc:  # noqa: BLE001
            as_text = f"{type(exc).__name__} in a validator that was given the text"
        raise InvalidMessageError(part="payload", problem=self._problem(payload, as_json, as_text))

    def _from_json(self, payload: bytes) -> Any:
        if _NAN in payload or _INFINITY in payload:
            from_json(payload, allow_inf_nan=False)
        value = self.adapter.validator.validate_json(payload)
        if isinstance(value, Decimal) and not payload.lstrip().startswith(b'"'):
            # A JSON number passes through a float on its way; in quotation marks all of its digits arrive.
            exact = self.adapter.validate_json(b'"%b"' % payload.strip())
            value = exact if isinstance(exact, Decimal) else value
        return value

    def _from_text(self, payload: bytes) -> Any:
        return self.adapter.validate_json(orjson.dumps(payload.decode()))

    def _takes_bytes(self, payload: bytes) -> bool:
        try:
            return bool(self.adapter.validate_python(payload) == payload)
        # As with a text: a validator that was written for JSON alone.
        except Exception:  # noqa: BLE001
            return False

    def _problem(self, payload: bytes, as_json: str, as_text: str) -> str:
        if not payload:
            return "empty, where JSON is expected" if self._takes_structures_alone else f"empty: {as_text}"
        is_meant_as_json = self._takes_structures_alone or payload.lstrip().startswith((b"{", b"["))
        return with_unseen(as_json if is_meant_as_json else as_text, payload)

    @property
    def _takes_structures(self) -> bool:
        return not self._json_types.isdisjoint(("object", "array"))

    @property
    def _takes_structures_alone(self) -> bool:
        return self._json_types <= {"object", "array", "null"}

    @functools.cached_property
    def _json_types(self) -> frozenset[str]:
        """What the annotation has a place for, in JSON Schema's words; asked for only when something does not fit."""
        try:
            if _is_plain_model(self.adapter):
                # To have pydantic describe one costs each child of a worker a megabyte.
                return frozenset({"object"})
            with warnings.catch_warnings(action="ignore"):
                schema = self.adapter.json_schema()
            return frozenset(_types(schema, schema.get("$defs", {})))
        # The user's own types describe themselves, or cannot.
        except Exception:  # noqa: BLE001
            return frozenset(_types({}, {}))


def _is_plain_model(adapter: pydantic.TypeAdapter[Any]) -> bool:
    """Tell whether it is a model, and no more than its fields say what it takes."""
    core: Any = adapter.core_schema
    if core["type"] != "model" or core.get("root_model"):
        return False
    model, describes = core["cls"], "__get_pydantic_json_schema__"
    own = any(describes in vars(each) for each in model.__mro__ if each is not pydantic.BaseModel)
    return not own and model.model_config.get("json_schema_extra") is None


def _types(schema: dict[str, Any], definitions: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        return _types(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return set().union(*(_types(choice, definitions) for choice in choices))
    if "enum" in schema:
        return {"string"}
    # What says nothing of itself may take anything.
    return {schema["type"]} if "type" in schema else {"object", "string"}


def _is_structure(payload: bytes) -> bool:
    try:
        return isinstance(from_json(payload, allow_inf_nan=False), dict | list)
    except ValueError:
        return False


def summary(exc: pydantic.ValidationError) -> str:
    """Return what is wrong without what was sent: `temperature: Input should be a valid number; …`."""
    problems = []
    for error in exc.errors(include_url=False, include_input=False, include_context=False)[:5]:
        where = ".".join(str(step) for step in error["loc"])
        problems.append(f"{where}: {error['msg']}" if where else error["msg"])
    hidden = exc.error_count() - len(problems)
    text = "; ".join(problems) + (f"; and {hidden} more" if hidden > 0 else "")
    # Keys of the payload, and words of a model's own validators, may be of any length.
    return text if len(text) <= _MAX_SUMMARY_CHARACTERS else f"{text[:_MAX_SUMMARY_CHARACTERS]}…"
