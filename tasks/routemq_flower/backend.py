"""What the pages read and change: the store, the routes, and the threads in which they wait for Redis."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from routemq.connections import connect_redis
from routemq.dead_letters import DeadLetters
from routemq.dead_letters.strange_routes import StrangeRoutes
from routemq.metrics.rates import RouteRates
from routemq.paused import PausedRoutes
from routemq.queues import Keys
from routemq.routing import Router
from routemq.settings import Settings
from routemq_flower.operations import Operations
from routemq_flower.threads import DaemonThreads

P = ParamSpec("P")
R = TypeVar("R")

_SETTING = "routemq_backend"
_READING_THREADS = 4
_SEARCHING_THREADS = 2
"""A search for words looks at every letter, and must not keep the quick answers waiting."""


class Backend:
    """One for a Flower process. Nothing here may block Flower's event loop, so Redis is asked in threads.

    Args:
        settings: Read at the front door.
        router: The application's routes.
        queues: Theirs, and those of its own Celery tasks.
    """

    def __init__(self, settings: Settings, router: Router, queues: Iterable[str]) -> None:
        self.settings, self.router, self.queues = settings, router, sorted(queues)
        self.keys = Keys(settings.key_prefix)
        self.client = connect_redis(settings)
        self.letters = DeadLetters.of(settings, self.client, buries=False)
        self.strange = StrangeRoutes(router=router, wait_s=settings.unknown_route_wait_s)
        self.operations = Operations(self.letters, self.strange)
        self.rates = RouteRates()
        self.pauses = PausedRoutes(self.client, self.keys)
        self._files = _files_digest()
        self._reading = DaemonThreads(_READING_THREADS, name="routemq-reading")
        self._searching = DaemonThreads(_SEARCHING_THREADS, name="routemq-searching")

    @classmethod
    def of(cls, application: Any) -> "Backend":
        """Return the backend of a running Flower; only its event loop asks for it."""
        found: Backend | None = application.settings.get(_SETTING)
        if found is None:
            app = application.capp
            found = application.settings[_SETTING] = cls(app.settings, app.router, app.queues)
        return found

    def edition(self, *, read_only: bool) -> str:
        """Return a name of all that a page holds from its opening on: another one is the page of another Flower."""
        held = [route.name for route in self.router.routes], self.queues, self.settings.dlq_bin_hours, read_only
        return sha256(self._files + repr(held).encode()).hexdigest()[:16]

    async def read(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call what answers quickly."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, partial(function, *args, **kwargs))

    async def search(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call what may look at every letter."""
        return await asyncio.get_running_loop().run_in_executor(self._searching, partial(function, *args, **kwargs))


def _files_digest() -> bytes:
    """Return what tells the files of our pages from those of another release."""
    digest = sha256()
    for folder in ("static", "templates"):
        for path in sorted((Path(__file__).parent / folder).iterdir()):
            digest.update(path.read_bytes())
    return digest.digest()
