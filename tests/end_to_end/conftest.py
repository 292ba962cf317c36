"""One Flower, and one browser for each file of tests of its pages, because both are slow to start."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser import Visit, chromium
from tests.flower import Place, serving
from tests.servers import Redis


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # While Playwright runs, this thread has an event loop, and `asyncio.run` is refused to tests of other files.
    with chromium() as started:
        yield started


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open a window: `visit(http_credentials=…)`. The test fails when something went wrong in one."""
    visits: list[Visit] = []

    def begin(**options: Any) -> Visit:
        visits.append(Visit.begin(browser.new_context(viewport={"width": 1280, "height": 900}, **options)))
        return visits[-1]

    yield begin
    for opened in visits:
        opened.page.context.close()
    assert [complaint for opened in visits for complaint in opened.complaints] == []


@pytest.fixture(scope="session")
def place(redis_server: Redis) -> Iterator[Place]:
    """A Flower without a password, as `routemq dev` starts it; tests keep to their own route or topics."""
    with serving(redis_server) as started:
        yield started
