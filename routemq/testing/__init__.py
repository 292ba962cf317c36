"""Tests of an application: one message through a route without any server, or all of it in one process.

Everything is imported when it is asked for: pytest imports this package in every project that has us installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routemq.testing.parts import NotServingError
    from routemq.testing.rehearsal import NoSingleRouteError, deliver, deliver_async
    from routemq.testing.result import Dead, Done, Later, Published, Result
    from routemq.testing.whole_app import NotIdleError, TestApp

__all__ = [
    "Dead",
    "Done",
    "Later",
    "NoSingleRouteError",
    "NotIdleError",
    "NotServingError",
    "Published",
    "Result",
    "TestApp",
    "deliver",
    "deliver_async",
]

_HOMES = {
    "Dead": "result",
    "Done": "result",
    "Later": "result",
    "NoSingleRouteError": "rehearsal",
    "NotIdleError": "whole_app",
    "NotServingError": "parts",
    "Published": "result",
    "Result": "result",
    "TestApp": "whole_app",
    "deliver": "rehearsal",
    "deliver_async": "rehearsal",
}


# Of a module that has one, a type checker takes every name for given.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a public name when it is asked for."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
