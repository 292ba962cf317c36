"""Routers: the routes of an application, how they are declared, and which of them a message is for."""

import inspect
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeVar, Unpack

from routemq.controllers import Handler
from routemq.errors import RouteError, TopicTemplateError
from routemq.middleware import Middleware, links_of
from routemq.route import Route, RouteOptions, declared
from routemq.topics import TopicTemplate
from routemq.worker_start import Hook, WorkerStart, worker_start

H = TypeVar("H", bound=Hook)


@dataclass(slots=True)
class Router:
    """A list of routes. An application has one per file in its routers package; they are joined at start."""

    _routes: dict[str, Route] = field(default_factory=dict)
    _starts: list[WorkerStart] = field(default_factory=list)

    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes, in the order of their declaration."""
        return tuple(self._routes.values())

    @property
    def starts(self) -> tuple[WorkerStart, ...]:
        """What each process that runs messages does first, in this order."""
        return tuple(self._starts)

    @property
    def queues(self) -> dict[str, int]:
        """Each queue with its concurrency: the sum of its routes' `worker_count`."""
        totals: dict[str, int] = {}
        for route in self.routes:
            totals[route.queue] = totals.get(route.queue, 0) + route.worker_count
        return totals

    def get(self, name: str) -> Route | None:
        """Return the route of this name."""
        return self._routes.get(name)

    def find(self, name: str, *, topic: str, queue: str) -> Route | None:
        """Return the route that a queued message is for, whichever release has queued it; None when it is not here.

        That of its name, if it takes the topic. Else one of its queue that does: the one with the same topic filter,
        whose parameters have been renamed since. Only a name that is no template of the topic tells no filter; then the
        single one that takes the topic.

        Args:
            name: Of the route that it was queued for.
            queue: Where it was queued; one that no route has says nothing.
        """
        named = self._routes.get(name)
        if named is not None and named.template.match(topic) is not None:
            return named
        takers = [
            route
            for route in self.routes
            if route.template.match(topic) is not None and (route.queue == queue or queue not in self.queues)
        ]
        topic_filter = _filter_told(name, topic)
        if topic_filter is not None:
            # Routes that overlap get a copy each: one with another filter has been given its own.
            return next((route for route in takers if route.template.filter == topic_filter), None)
        return takers[0] if len(takers) == 1 else None

    def on(self, topic: str, handler: Handler | str, **options: Unpack[RouteOptions]) -> Route:
        """Send the messages of a topic to a controller.

        Args:
            topic: Topic template, such as `sensors/{device_id}/data`.
            handler: Function, static method, or `"pkg.module:Class.method"`, which ingest then need not import.
            **options: See `RouteOptions`.

        Raises:
            RouteError: The route is impossible or clashes with another one.
        """
        return self.declare(_caller(), topic, handler, options)

    def on_worker_start(self, function: H) -> H:
        """Have a function called in each process of a worker that runs messages, before the first; after a fork.

        ``@router.on_worker_start`` stands before a function that takes nothing. If it yields, what follows the `yield`
        is run as the process ends; so is a function that it returns. All of this may be async, on the event loop of the
        async controllers. While it fails, the worker takes no messages, says why, and calls it again.

        Raises:
            WorkerStartError: It cannot be called without arguments.
        """
        self._add_start(worker_start(function, _caller()))
        return function

    def group(self, prefix: str = "", middleware: Sequence[Middleware] = ()) -> "RouteGroup":
        """Return a group, whose routes get this prefix and this middleware; also usable in a `with` statement."""
        return RouteGroup(self, prefix, links_of(middleware, source=_caller(), route=prefix))

    def include(self, other: "Router") -> None:
        """Add another router's routes, and what its workers do at their start.

        Raises:
            RouteError: A route clashes with one that is here.
        """
        for route in other.routes:
            self._add(route)
        for start in other.starts:
            self._add_start(start)

    def declare(self, source: str, topic: str, handler: Handler | str, options: RouteOptions) -> Route:
        """Make and add a route; `Router.on` and `RouteGroup.on` are the ways in and know the source `file:line`."""
        route = declared(source, topic, handler, options)
        self._add(route)
        return route

    def _add_start(self, start: WorkerStart) -> None:
        # A router may be included by another one and found beside it, and two may name one function.
        if all(other.function != start.function for other in self._starts):
            self._starts.append(start)

    def _add(self, route: Route) -> None:
        twin = self._routes.get(route.name)
        if twin is route:
            return  # a router may be included by another one and found beside it
        for other in self.routes:
            if other.template.filter == route.template.filter and other.shared == route.shared:
                raise RouteError(
                    source=route.source,
                    route=route.name,
                    problem=f"{other.name!r} at {other.source} already subscribes to {route.template.filter!r}",
                    mend="let one controller do both, or change one of the topics",
                )
        if twin is not None:
            raise RouteError(
                source=route.source,
                route=route.name,
                problem=f"the name is taken by the route at {twin.source}",
                mend="give one of them another name=",
            )
        self._routes[route.name] = route


@dataclass(frozen=True, slots=True)
class RouteGroup:
    """Routes with a common prefix and middleware; `with router.group(…) as plant:` reads well."""

    router: Router
    prefix: str = ""
    middleware: tuple[Middleware, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Nothing to undo: the routes are on the router already."""

    def on(self, topic: str, handler: Handler | str, **options: Unpack[RouteOptions]) -> Route:
        """Like `Router.on`, with the prefix before the topic and the group's middleware outside the route's."""
        source, whole = _caller(), _joined(self.prefix, topic)
        links = links_of(options.get("middleware"), source=source, route=whole)
        inside: RouteOptions = {**options, "middleware": (*self.middleware, *links)}
        return self.router.declare(source, whole, handler, inside)

    def group(self, prefix: str = "", middleware: Sequence[Middleware] = ()) -> "RouteGroup":
        """Return a group inside this one."""
        inside = _joined(self.prefix, prefix)
        links = links_of(middleware, source=_caller(), route=inside)
        return RouteGroup(self.router, inside, (*self.middleware, *links))


def overlapping(routes: Sequence[Route]) -> Iterator[tuple[Route, Route]]:
    """Yield each pair of routes that some topic belongs to; such a topic runs both controllers."""
    for index, route in enumerate(routes):
        for other in routes[index + 1 :]:
            if route.template.overlaps(other.template):
                yield route, other


def _filter_told(name: str, topic: str) -> str | None:
    """Return the topic filter of a route that is called by its template; None when the name is another."""
    try:
        template = TopicTemplate(name)
    except TopicTemplateError:
        return None
    return None if template.match(topic) is None else template.filter


def _joined(prefix: str, topic: str) -> str:
    # A leading slash stays: in MQTT `/plants` and `plants` are different topics.
    return "/".join(part for part in (prefix.rstrip("/"), topic) if part)


def _caller() -> str:
    """Return `file:line` of the code that called `Router.on` or its like, relative to the working directory."""
    frame = inspect.currentframe()
    for _ in range(2):
        frame = frame.f_back if frame else None
    if frame is None:
        return "<unknown>"
    path = frame.f_code.co_filename
    relative = os.path.relpath(path)
    return f"{path if relative.startswith('..') else relative}:{frame.f_lineno}"
