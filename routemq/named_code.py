"""What an application names in a setting or for a route, `package.module:name`: imported, whatever its code does."""

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from routemq.errors import NamedCodeError
from routemq.logs import unsilence
from routemq.project_frame import project_frame
from routemq.text import error_line


def imported(module: str) -> ModuleType:
    """Import a module of the application's, from the working directory too, as Celery does.

    Raises:
        NamedCodeError: It cannot be; what it raised is the cause.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
    # A module of the user's may raise anything while it is imported. One that ends the process must not end a worker or
    # a check as if all were well.
    except BaseException as exc:
        if isinstance(exc, KeyboardInterrupt):
            raise
        where = project_frame(exc)
        raise NamedCodeError(
            problem=f"importing it failed: {error_line(exc)}{f' ({where})' if where else ''}",
            mend="correct that line" if where else "correct the module's name or its imports",
        ) from exc
    unsilence()
    return found


def named(name: str) -> Any:
    """Return what `package.module:Class.attribute` names.

    Raises:
        NamedCodeError: There is no such thing.
    """
    module, colon, path = name.partition(":")
    if not (module and colon and path) or module.startswith("."):
        raise NamedCodeError(problem="not of the form", mend="write 'package.module:Class.method'")
    found: Any = imported(module)
    for attribute in path.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as exc:
            # Not by its `repr`, which is the user's code as well.
            shown = type(found).__qualname__ if not isinstance(found, type) else f"class {found.__qualname__}"
            shown = f"the module {module}" if isinstance(found, ModuleType) else f"the {shown}"
            raise NamedCodeError(
                problem=f"{shown} has no {attribute!r}", mend="correct the name after the colon"
            ) from exc
        # A module's `__getattr__`, and a descriptor, are the user's code too.
        except BaseException as exc:
            if isinstance(exc, KeyboardInterrupt):
                raise
            raise NamedCodeError(
                problem=f"{attribute!r} cannot be had: {error_line(exc)}", mend="correct what makes it"
            ) from exc
    return found


def named_function(name: str, *arguments: str) -> Callable[..., Any]:
    """Return the function that is named, if it can be called with so many arguments and has then done its work.

    Args:
        arguments: What it is given, in words.

    Raises:
        NamedCodeError: There is none, or it is another kind of function.
    """
    function = named(name)
    given = f"a function ({', '.join(arguments)})"
    if not callable(function):
        raise NamedCodeError(problem="it is not callable", mend=f"name {given}")
    # What stands around a function, such as `async_to_sync`, may await it, or give it more: only the outermost counts.
    for candidate in (function, getattr(function, "__call__", None)):  # noqa: B004  an instance's own
        if inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate):
            raise NamedCodeError(problem="it is async, and nobody would await it", mend=f"name {given} that is not")
        if inspect.isgeneratorfunction(candidate):
            raise NamedCodeError(problem="it is a generator, which nobody would iterate", mend="write it without yield")
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    # Some of C have none, and others what the application gives them for one.
    except Exception:  # noqa: BLE001
        return function  # type: ignore[no-any-return]
    try:
        signature.bind(*arguments)
    except TypeError as exc:
        raise NamedCodeError(problem=f"it cannot be called: {error_line(exc)}", mend=f"name {given}") from exc
    return function  # type: ignore[no-any-return]
