"""What a controller's parameters are annotated with, however that is written."""

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any


def signature_of(handler: Callable[..., Any]) -> inspect.Signature:
    """Return a signature whose annotations are types, also where they are in quotation marks, as a whole or in parts.

    `inspect` evaluates them once: under `from __future__ import annotations` one with quotation marks stays text, and
    so does the `"Reading"` of `list["Reading"]`.

    Raises:
        Exception: Whatever evaluating an annotation raises.
    """
    signature = inspect.signature(handler)
    parameters, empty = signature.parameters.values(), inspect.Signature.empty
    written = {each.name: each.annotation for each in parameters} | {"return": signature.return_annotation}
    hints = typing.get_type_hints(
        types.SimpleNamespace(__annotations__={name: hint for name, hint in written.items() if hint is not empty}),
        globalns=_names_of(handler),
        include_extras=True,
    )
    # As it was written: `typing` has made a class of it.
    found = {name: None if hint is type(None) else hint for name, hint in hints.items()}
    return signature.replace(
        parameters=[each.replace(annotation=found.get(each.name, empty)) for each in parameters],
        return_annotation=found.get("return", empty),
    )


def _names_of(handler: Any) -> dict[str, Any]:
    """Return the global names where a handler was written, behind all that is around it."""
    while True:
        if isinstance(handler, functools.partial):
            handler = handler.func
        elif hasattr(handler, "__wrapped__"):
            handler = handler.__wrapped__
        elif inspect.ismethod(handler):
            handler = handler.__func__
        elif hasattr(handler, "__globals__"):
            return typing.cast("dict[str, Any]", handler.__globals__)
        elif inspect.isclass(handler) or not inspect.isfunction(type(handler).__call__):
            return vars(sys.modules.get(getattr(handler, "__module__", None) or "builtins", object()))
        else:
            handler = type(handler).__call__


def asks_for(annotation: Any, kind: type) -> bool:
    """Return whether an annotation is this type, also with None for another choice, or with notes beside it."""
    if typing.get_origin(annotation) is typing.Annotated:
        return asks_for(typing.get_args(annotation)[0], kind)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(asks_for(each, kind) for each in typing.get_args(annotation))
    return annotation is kind
