"""Routes: which topics go to which controller, on which queue, with how many hands.

Longer than other files: most of it is the public interface of `Router` and its groups, said in full.
"""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypedDict, TypeVar, Unpack

import pydantic

from routemq.batch_controllers import BoundBatch, bind_batch
from routemq.batching import Batch
from routemq.controllers import BoundController, Handler, bind, controller_name, resolve
from routemq.envelope import Envelope
from routemq.errors import BindingError, CodecError, NamedValueError, RouteError, TopicTemplateError
from routemq.middleware import Chain, Middleware, build_chain, takes_batches
from routemq.named_codecs import Codec
from routemq.named_values import Promise, promised
from routemq.payload_codecs import RouteCodec
from routemq.queues import default_queue, queue_problem
from routemq.reply import Reply, answer_encoder
from routemq.retry import RetryPolicy
from routemq.text import error_line
from routemq.topics import TopicTemplate
from routemq.worker_start import Hook, WorkerStart, worker_start

H = TypeVar("H", bound=Hook)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route, as declared.

    Attributes:
        name: Unique in the application; the Celery task's name.
        template: Which topics.
        handler: The controller, or its name `pkg.module:Class.method`.
        qos: QoS of the subscription, 0 or 1; MQTT has no shared state in which QoS 2 could survive a worker.
        shared: Whether the ingest workers share the subscription; if not, one of them at a time holds it.
        worker_count: Celery concurrency that the route asks of its queue; routes on one queue add up.
        queue: Name of the Celery queue.
        middleware: Around the controller, the first outermost.
        retry: When a failed message is run again.
        timeout_s: Seconds that one run may take, or None.
        batch: How many messages the controller gets at once; None for one, and without a list.
        reply: How what the controller returns is sent to who asked for it; None when it is not.
        codec: What decodes payloads; None leaves it to their content types, else they are JSON or text.
        publishes: What the controller publishes, topic template by payload type; for documents alone.
        source: Where it was declared, `file:line`.
    """

    name: str
    template: TopicTemplate
    handler: Handler | str
    qos: int
    shared: bool
    worker_count: int
    queue: str
    middleware: tuple[Middleware, ...]
    retry: RetryPolicy
    timeout_s: float | None
    batch: Batch | None
    reply: Reply | None
    codec: RouteCodec | None
    publishes: Mapping[str, Any]
    source: str

    @property
    def controller(self) -> str:
        """The controller's name, `pkg.module:Class.method`."""
        return controller_name(self.handler)

    def chain(self) -> Chain:
        """Return the controller with its middleware, ready to run; imports a controller that is given by name.

        Raises:
            RouteError: There is no such controller, or its signature cannot be bound.
        """
        try:
            bound = self.bound()
            if self.reply is not None:
                self.encoder()
        except BindingError as exc:
            raise RouteError(
                source=self.source,
                route=self.name,
                problem=f"controller {exc.controller}: {exc.problem}",
                mend=exc.mend,
            ) from exc
        return build_chain(bound, self.middleware, is_async=bound.is_async, of_batches=self.batch is not None)

    def bound(self) -> BoundController | BoundBatch:
        """Return the controller, which takes a context, with `batch=` a list of them.

        Raises:
            BindingError: There is no such controller, or its signature cannot be bound.
        """
        handler = resolve(self.handler)
        return (bind if self.batch is None else bind_batch)(handler, self.template, self.promises(), self.codec)

    def encoder(self) -> Callable[[Any, Envelope], bytes]:
        """Return what makes an answer's payload of what the controller returns for a message.

        Raises:
            BindingError: There is no such controller, or what it returns cannot be checked.
        """
        return answer_encoder(resolve(self.handler), self.controller, self.codec)

    def promises(self) -> dict[str, Promise]:
        """Return what its middleware provides, by name.

        Raises:
            RouteError: It cannot provide what it promises.
        """
        try:
            return promised(self.middleware, self.template.parameters)
        except NamedValueError as exc:
            raise RouteError(source=self.source, route=self.name, problem=exc.problem, mend=exc.mend) from exc

    @property
    def codec_types(self) -> tuple[str, ...]:
        """Content types of its payloads; empty without a codec."""
        return () if self.codec is None else self.codec.content_types or ("application/octet-stream",)

    @property
    def gathers(self) -> bool:
        """Whether its messages are run together; a middleware that is once around each keeps them apart."""
        return self.batch is not None and all(map(takes_batches, self.middleware))


class RouteOptions(TypedDict, total=False):
    """Options of `Router.on`.

    Attributes:
        qos: 0 or 1; default 1.
        shared: Let all ingest workers share the subscription (`$share/<group>/<filter>`); default False: one live
            ingest process at a time holds it.
        worker_count: Celery concurrency that the route asks of its queue; default 1. Routes on one queue add up.
        queue: Queue name; by default the topic's literal levels joined by dots.
        name: Route and Celery task name; by default the topic template.
        middleware: Around the controller, inside the group's.
        retry: By default three runs, after 1 s and 2 s.
        timeout_s: A run that takes longer fails, reason `timeout`; a sync controller only in the prefork pool.
        batch: Give the controller up to so many messages at once, as lists.
        reply: Publish what the controller returns to the request's response topic; True, or a `Reply(…)`.
        codec: What payloads are, if not JSON or text: "cbor", "msgpack", "protobuf:package.module_pb2.Message",
            "sparkplug", an object with `decode` and `encode`, or a mapping of content types to these.
        publishes: Topic templates that the controller publishes to, each with its payload's type; `routemq asyncapi`
            says so.
    """

    qos: int
    shared: bool
    worker_count: int
    queue: str | None
    name: str | None
    middleware: Sequence[Middleware] | None
    retry: RetryPolicy | None
    timeout_s: float | None
    batch: Batch | None
    reply: bool | Reply
    codec: str | Codec | Mapping[str, str | Codec] | None
    publishes: Mapping[str, Any] | None


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
        return RouteGroup(self, prefix, tuple(middleware))

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
        name = options.get("name") or topic
        if unknown := sorted(set(options) - set(RouteOptions.__annotations__)):
            raise RouteError(
                source=source,
                route=name,
                problem=f"there is no option {', '.join(f'{option}=' for option in unknown)}",
                mend=f"the options are {', '.join(f'{option}=' for option in RouteOptions.__annotations__)}",
            )
        try:
            template = TopicTemplate(topic)
        except TopicTemplateError as exc:
            raise RouteError(source=source, route=name, problem=exc.problem, mend="correct the topic") from exc
        try:
            codec = RouteCodec(options["codec"]) if options.get("codec") is not None else None
        except CodecError as exc:
            problem = f"codec={exc.given!r}: {exc.problem}"
            raise RouteError(source=source, route=name, problem=problem, mend=exc.mend) from exc
        reply = options.get("reply", False)
        route = Route(
            name=name,
            template=template,
            handler=handler,
            qos=options.get("qos", 1),
            shared=options.get("shared", False),
            worker_count=options.get("worker_count", 1),
            queue=options.get("queue") or default_queue(template.literal_levels),
            middleware=tuple(options.get("middleware") or ()),
            retry=options.get("retry") or RetryPolicy(),
            timeout_s=options.get("timeout_s"),
            batch=options.get("batch"),
            codec=codec,
            publishes=options.get("publishes") or {},
            reply=Reply() if reply is True else None if reply is False else reply,
            source=source,
        )
        _check_options(route)
        if isinstance(handler, str):
            route.promises()
        else:
            route.chain()  # an unusable signature is an error where the route is declared, not at its first message
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
        middleware = (*self.middleware, *(options.get("middleware") or ()))
        inside: RouteOptions = {**options, "middleware": middleware}
        return self.router.declare(_caller(), _joined(self.prefix, topic), handler, inside)

    def group(self, prefix: str = "", middleware: Sequence[Middleware] = ()) -> "RouteGroup":
        """Return a group inside this one."""
        return RouteGroup(self.router, _joined(self.prefix, prefix), (*self.middleware, *middleware))


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


def _check_options(route: Route) -> None:
    problem, mend = "", ""
    # Typed in vain for users who do not check types: these are looked at as what they are.
    worker_count: object = route.worker_count
    timeout_s: object = route.timeout_s
    retry: object = route.retry
    shared: object = route.shared
    batch: object = route.batch
    reply: object = route.reply
    links: tuple[object, ...] = route.middleware
    if unusable := queue_problem(route.queue):
        problem, mend = unusable, "give it another queue="
    elif route.qos not in (0, 1):
        problem, mend = f"qos={route.qos!r}", "use 0 or 1; with QoS 1 a message may come twice, but is not lost"
    elif not (isinstance(worker_count, int) and worker_count >= 1):
        problem, mend = f"worker_count={worker_count!r}", "use a whole number from 1"
    elif timeout_s is not None and not (isinstance(timeout_s, int | float) and 0 < timeout_s < float("inf")):
        problem, mend = f"timeout_s={timeout_s!r}", "use a positive number of seconds, or None"
    elif not isinstance(retry, RetryPolicy):
        problem, mend = f"retry={retry!r}", "use a RetryPolicy(…)"
    elif not isinstance(shared, bool):
        problem, mend = f"shared={shared!r}", "use True or False"
    elif batch is not None and not isinstance(batch, Batch):
        problem, mend = f"batch={batch!r}", "use a Batch(…)"
    else:
        problem, mend = _publishes_problem(route.publishes) or _reply_problem(reply, is_batch=batch is not None)
    for link in links:
        if not isinstance(link, Middleware):
            problem = f"middleware {link!r} is no Middleware"
            mend = "pass an instance of a subclass of routemq.Middleware"
    if problem:
        raise RouteError(source=route.source, route=route.name, problem=problem, mend=mend)


def _publishes_problem(publishes: object) -> tuple[str, str] | None:
    mend = 'write publishes={"replies/{device_id}": Answer}, a topic and the type of its payload'
    if not isinstance(publishes, Mapping):
        return f"publishes={publishes!r}", mend
    for topic, annotation in publishes.items():
        try:
            TopicTemplate(topic)
            if not hasattr(annotation, "DESCRIPTOR"):
                pydantic.TypeAdapter(annotation)
        except TopicTemplateError as exc:
            return f"publishes= {topic!r}: {exc.problem}", mend
        # It may be anything, and so may be what pydantic makes of it.
        except Exception as exc:  # noqa: BLE001
            return f"publishes= {topic!r}: {error_line(exc)}", mend
    return None


def _reply_problem(reply: object, *, is_batch: bool) -> tuple[str, str]:
    if reply is None:
        return "", ""
    if not isinstance(reply, Reply):
        return f"reply={reply!r}", "use True or a Reply(…)"
    return ("reply= and batch=", "leave one out: a list of messages has no one answer") if is_batch else ("", "")


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
