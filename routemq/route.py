"""A route: its topic, controller, queue and hands; the options it is declared with, and what they may be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import pydantic

from routemq.batch_controllers import BoundBatch, bind_batch
from routemq.batching import Batch
from routemq.controllers import BoundController, Handler, bind, controller_name, resolve
from routemq.envelope import Envelope
from routemq.errors import BindingError, CodecError, NamedValueError, RouteError, TopicTemplateError
from routemq.middleware import Chain, Middleware, build_chain, links_of, takes_batches
from routemq.named_codecs import Codec
from routemq.named_values import Promise, promised
from routemq.payload_codecs import RouteCodec
from routemq.queues import default_queue, queue_problem
from routemq.reply import Reply, answer_encoder
from routemq.retry import RetryPolicy
from routemq.text import error_line, printable
from routemq.topics import TopicTemplate


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


def declared(source: str, topic: str, handler: Handler | str, options: RouteOptions) -> Route:
    """Make a route of what `Router.on` was given.

    Args:
        source: Where that was, `file:line`.

    Raises:
        RouteError: The route is impossible.
    """
    given: object = options.get("name") or ""
    # It becomes part of Redis keys, of Celery's messages and of lines in the log.
    if not isinstance(given, str) or printable(given) != given:
        raise RouteError(source=source, route=topic, problem=f"name={given!r}", mend="use text that can be printed")
    topic, name, queue = (_plain(each) for each in (topic, given or topic, options.get("queue")))
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
        queue=queue or default_queue(template.literal_levels),
        middleware=links_of(options.get("middleware"), source=source, route=name),
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
    return route


def _plain(given: Any) -> Any:
    """Return text as no subclass of `str`: an enumeration's member is its value in one place, its name in another."""
    return str.__str__(given) if isinstance(given, str) else given


def _is_whole_from(least: int, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_options(route: Route) -> None:
    problem, mend = "", ""
    # Typed in vain for users who do not check types: these are looked at as what they are.
    qos: object = route.qos
    queue: object = route.queue
    worker_count: object = route.worker_count
    timeout_s: object = route.timeout_s
    retry: object = route.retry
    shared: object = route.shared
    batch: object = route.batch
    reply: object = route.reply
    if unusable := queue_problem(queue) if isinstance(queue, str) else f"queue={queue!r}":
        problem, mend = unusable, "give it another queue="
    elif not (_is_whole_from(0, qos) and qos in (0, 1)):
        problem, mend = f"qos={qos!r}", "use 0 or 1; with QoS 1 a message may come twice, but is not lost"
    elif not _is_whole_from(1, worker_count):
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
        problem, mend = _publishes_problem(route.publishes) or _reply_problem(reply, route)
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


def _reply_problem(reply: object, route: Route) -> tuple[str, str]:
    if reply is None:
        return "", ""
    if not isinstance(reply, Reply):
        return f"reply={reply!r}", "use True or a Reply(…)"
    if (misspelt := reply.misspelt(route.template.parameters)) is not None:
        name, meant = misspelt
        return f"reply= within={reply.within!r}: {name!r} is no parameter of the topic", f"write {meant!r}"
    return (
        ("", "")
        if route.batch is None
        else ("reply= and batch=", "leave one out: a list of messages has no one answer")
    )
