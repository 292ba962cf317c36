"""Fixtures for pytest, which finds them by our entry point, in every project that has us installed.

So nothing is imported here but pytest, and every name begins with ours.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from routemq.routing import Router
    from routemq.testing.result import Result
    from routemq.testing.whole_app import TestApp


@pytest.fixture(scope="session")
def routemq_router() -> "Router":
    """The application's routes, from ROUTEMQ_ROUTERS or `app.routers`; override it to test other ones."""
    from routemq.discovery import load_router
    from routemq.settings import load_settings

    return load_router(load_settings().routers)


@pytest.fixture
def routemq_deliver(routemq_router: "Router") -> "Callable[..., Result]":
    """`routemq.testing.deliver` with the routes of `routemq_router`: `routemq_deliver(topic, payload, …)`."""
    from routemq.testing import deliver

    def run(topic: str, payload: Any = b"", **options: Any) -> "Result":
        return deliver(routemq_router, topic, payload, **options)

    return run


@pytest.fixture
def routemq_app(routemq_router: "Router") -> "Iterator[TestApp]":
    """A running `routemq.testing.TestApp` with the routes of `routemq_router`."""
    from routemq.testing import TestApp

    with TestApp(routemq_router) as app:
        yield app
