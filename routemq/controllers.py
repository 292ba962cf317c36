"""Bind a controller's signature once, when its route is made, so that a message only fills it in."""

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pydantic

from routemq.errors import BindingError, InvalidMessageError, NamedCodeError
from routemq.message import Client, Message
from routemq.middleware import Context
from routemq.named_code import named
from routemq.named_values import NamedValue, Promise, fits
from routemq.payload_codecs import RouteCodec, payload_reader
from routemq.payloads import summary
from routemq.signatures import asks_for, signature_of
from routemq.text import error_line
from routemq.topics import RESERVED_NAMES, Converter, TopicTemplate

Handler = Callable[..., Any]
Fill = Callable[[Context], Any]
"""Returns what one parameter gets of a message; may raise InvalidMessageError."""

_CONVERTED_TYPES: dict[Converter, Any] = {"str": str, "int": int, "float": float, "path": str}
_OF_PARTS = ("list", "dict", "tuple", "set", "frozenset", "typed-dict", "named-tuple")
_SHOWN_CHARACTERS = 100


class Controller:
    """A home for handlers that belong together: each a static method, sync or async."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a route's controller may ask for.

    Attributes:
        template: Its topics, with their parameters.
        named: What its middleware provides.
        codec: What decodes its payloads; None leaves it to their content types, else they are JSON or text.
    """

    template: TopicTemplate
    named: Mapping[str, Promise] = field(default_factory=dict)
    codec: RouteCodec | None = None


@dataclass(frozen=True, slots=True)
class BoundController:
    """A controller that takes a context.

    Attributes:
        is_async: Whether calling it returns an awaitable.
        handler: The function itself.
    """

    is_async: bool
    handler: Handler
    _arguments: tuple[tuple[str, Fill], ...]

    def __call__(self, context: Context) -> Any:
        """Convert the message's parts and run the controller.

        Raises:
            InvalidMessageError: A parameter or the payload does not convert.
        """
        return self.handler(**{name: fill(context) for name, fill in self._arguments})

    def check(self, context: Context) -> None:
        """Convert the message's parts without running the controller.

        Raises:
            InvalidMessageError: A parameter or the payload does not convert.
        """
        for _, fill in self._arguments:
            if not isinstance(fill, NamedValue):
                fill(context)


def controller_name(handler: Handler | str) -> str:
    """Return `pkg.module:Class.method`, which is also how a route may name its controller."""
    if isinstance(handler, str):
        return handler
    function = inspect.unwrap(handler)
    return f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', repr(function))}"


def resolve(handler: Handler | str) -> Handler:
    """Return the function that `pkg.module:Class.method` names; a function is returned as it is.

    Raises:
        BindingError: The name has another form, or nothing is there.
    """
    if not isinstance(handler, str):
        return handler
    try:
        found = named(handler)
    except NamedCodeError as exc:
        raise BindingError(controller=handler, problem=exc.problem, mend=exc.mend) from exc
    if not callable(found):
        raise BindingError(controller=handler, problem="it is not callable", mend="name a function")
    return typing.cast("Handler", found)


def bind(
    handler: Handler,
    template: TopicTemplate,
    named: Mapping[str, Promise] | None = None,
    codec: RouteCodec | None = None,
) -> BoundController:
    """Work out how each of a controller's parameters is filled from a message of `template`.

    A parameter with a topic parameter's name takes it, converted to its annotation. `payload` is raw for `bytes`, text
    for `str`, for any other annotation what pydantic makes of it as JSON, else as text; without an annotation it is
    JSON where the payload is JSON, else text, else bytes. `message` is the `Message`, `client` publishes; `named` are
    what middleware provides. A parameter with a default that matches nothing keeps its default.

    Raises:
        BindingError: A parameter cannot be filled, or its annotation cannot be used.
    """
    return BoundController(
        is_async(handler), handler, arguments_of(handler, Inputs(template, named or {}, codec), filler)
    )


def arguments_of(
    handler: Handler,
    inputs: Inputs,
    filler_of: Callable[[str, inspect.Parameter, Inputs], Fill | None],
) -> tuple[tuple[str, Fill], ...]:
    """Return a controller's parameters, each with what fills it.

    Args:
        filler_of: Returns that, by the controller's name; None for a parameter that keeps its default.

    Raises:
        BindingError: The signature cannot be filled by name.
    """
    name = controller_name(handler)
    if not callable(handler):
        raise BindingError(controller=name, problem="it is not callable", mend="give a function, or its name")
    try:
        signature = signature_of(handler)
    # An annotation is code, and evaluating it may raise anything.
    except Exception as exc:
        raise BindingError(
            controller=name,
            problem=f"its signature cannot be read: {error_line(exc)}",
            mend="correct its annotations, whose names are to be there at run time, not under TYPE_CHECKING alone",
        ) from exc
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise BindingError(
            controller=name, problem="it is a generator, which nobody would iterate", mend="do its work without `yield`"
        )
    arguments: list[tuple[str, Fill]] = []
    for position, parameter in enumerate(signature.parameters.values()):
        if position == 0 and parameter.name == "self":
            raise BindingError(
                controller=name, problem="it is a method without its instance", mend="make it a @staticmethod"
            )
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise BindingError(
                controller=name,
                problem=f"the parameter {str(parameter)!r} is filled by no name",
                mend="give each parameter a name of its own, without *, ** or /",
            )
        fill = filler_of(name, parameter, inputs)
        if fill is not None:
            arguments.append((parameter.name, fill))
    return tuple(arguments)


def is_async(handler: Handler) -> bool:
    """Return whether a controller returns an awaitable."""
    candidates = (handler, inspect.unwrap(handler), getattr(handler, "__call__", None))  # noqa: B004  an instance's own
    return any(inspect.iscoroutinefunction(candidate) for candidate in candidates)


def filler(controller: str, parameter: inspect.Parameter, inputs: Inputs) -> Fill | None:
    """Return what fills a parameter from a message; None if it keeps its default."""
    template = inputs.template
    annotation = None if parameter.annotation is parameter.empty else parameter.annotation
    if parameter.name in template.parameters:
        converter = template.parameters[parameter.name]
        return _parameter_filler(controller, parameter.name, _CONVERTED_TYPES[converter], annotation)
    if parameter.name == "payload":
        read = payload_reader(annotation, inputs.codec, lambda: _adapter(controller, "payload", annotation))
        return lambda context: read(context.message)
    if parameter.name == "message" or asks_for(annotation, Message):
        return lambda context: context.message
    if parameter.name == "client" or asks_for(annotation, Client):
        return lambda context: context.client
    if parameter.name in inputs.named:
        return named_filler(controller, parameter, inputs)
    if parameter.default is not parameter.empty:
        return None
    raise not_given(controller, parameter.name, inputs, RESERVED_NAMES)


def named_filler(controller: str, parameter: inspect.Parameter, inputs: Inputs) -> NamedValue:
    """Return what fills a parameter with a value of a middleware.

    Raises:
        BindingError: The middleware provides another type than is asked for.
    """
    promise, asked = inputs.named[parameter.name], parameter.annotation
    if asked is not parameter.empty and not fits(promise.kind, asked):
        shown, wanted = inspect.formatannotation(promise.kind), inspect.formatannotation(asked)
        raise BindingError(
            controller=controller,
            problem=f"the parameter {parameter.name!r} asks for {wanted}, and {promise.provider} provides {shown}",
            mend=f"annotate it {shown}, or let {promise.provider} provide {wanted}",
        )
    return NamedValue(parameter.name, promise.provider)


def not_given(controller: str, name: str, inputs: Inputs, reserved: Iterable[str]) -> BindingError:
    """Return an error of a parameter that nothing fills."""
    choices = ", ".join((*inputs.template.parameters, *reserved, *inputs.named))
    return BindingError(
        controller=controller,
        problem=f"the parameter {name!r} is neither in the topic {inputs.template.text!r} nor given",
        mend=f"name it one of {choices}, give it a default, or let a middleware of the route provide it",
    )


def _parameter_filler(controller: str, name: str, converted: Any, annotation: Any) -> Fill:
    wanted = converted if annotation in (None, Any) else annotation
    if converted is str and wanted is str:
        return lambda context: context.message.params[name]
    declared = _adapter(controller, name, converted)
    adapter = _adapter(controller, name, wanted)
    if _takes_no_text(adapter.core_schema):
        raise BindingError(
            controller=controller,
            problem=f"no level of a topic is ever {inspect.formatannotation(wanted)}, which {name!r} asks for",
            mend="annotate it with a type that is made of text, or with that and a BeforeValidator",
        )

    def fill(context: Context) -> Any:
        text = context.message.params[name]
        try:
            value = declared.validate_python(text)
            # `{line:int}` for `line: str` is a number in the topic and text for the controller.
            return text if wanted is str else adapter.validate_python(value)
        except pydantic.ValidationError as exc:
            shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
            raise InvalidMessageError(part=f"parameter {name!r}", problem=f"{shown!r}: {summary(exc)}") from exc

    return fill


def _adapter(controller: str, name: str, annotation: Any) -> pydantic.TypeAdapter[Any]:
    try:
        adapter = pydantic.TypeAdapter(annotation)
        # A model with a name that is not defined yet is accepted above, and would fail at the first message.
        adapter.core_schema.get("type")
        return adapter
    except (pydantic.errors.PydanticUserError, NameError) as exc:
        raise BindingError(
            controller=controller,
            problem=f"pydantic cannot convert the parameter {name!r} to {annotation!r} ({_first_line(exc)})",
            mend="annotate it with a type that pydantic knows, or with bytes",
        ) from exc


def _takes_no_text(schema: Mapping[str, Any]) -> bool:
    """Return whether pydantic makes nothing of any text, by a schema without a validator of the user's around it."""
    kind = schema["type"]
    if kind in ("nullable", "definitions"):
        return _takes_no_text(schema["schema"])
    if kind in ("model", "dataclass"):
        return schema["schema"]["type"] in ("model-fields", "dataclass-args")
    return kind in _OF_PARTS


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0].rstrip(".")
