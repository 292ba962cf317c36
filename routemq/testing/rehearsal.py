"""One message through its route as a worker runs it, without MQTT broker, Redis and Celery's worker.

The run is the worker's own, `RouteTask.execute`; what stands in for something here is only what asks a server.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import cache
from typing import Any, Self, Unpack

import orjson
from routemq_ingest.errors import PayloadTooLargeError
from routemq_tasks.event_loop import EventLoop
from routemq_tasks.execution import RouteTask
from routemq_tasks.fate import Dead, Kept, Later
from routemq_tasks.gate import Gate, Stopping
from routemq_tasks.held import Held
from routemq_tasks.outcomes import Outcomes, Settled
from routemq_tasks.process import ProcessResources
from routemq_tasks.publication import Publication
from routemq_tasks.publisher import Publisher
from routemq_tasks.request_stack import RequestStack
from routemq_tasks.upstream.tracer import RouteContext, running

from routemq.connections import connect_redis
from routemq.dead_letters import DeadLetter, DeadLetters
from routemq.envelope import Envelope, TaskMessage
from routemq.errors import RouteMQError
from routemq.publishable import publishable
from routemq.queues import Keys
from routemq.route import Route
from routemq.routing import Router
from routemq.settings import Settings
from routemq.testing.delivery_options import DeliveryOptions, check_options
from routemq.testing.result import Done, Published, Result
from routemq.topics import topic_problem

_WORKER = "deliver@routemq.testing"
_MOST_AT_ONCE = 1024
_JUDGED = (Exception, SystemExit, GeneratorExit, asyncio.CancelledError)
"""What a run may end by. Anything else, as Ctrl-C and `pytest.fail`, is meant for who runs the tests."""


class NoSingleRouteError(RouteMQError):
    """A topic is not of exactly one route."""

    def __init__(self, *, topic: str, found: Iterable[str], known: Iterable[str]) -> None:
        self.topic, self.found, self.known = topic, tuple(found), tuple(known)
        if self.found:
            problem = f"each of these routes gets a copy: {', '.join(self.found)}; name one of them with route="
        else:
            problem = f"no route takes it; the routes are: {', '.join(self.known) or 'none'}"
        super().__init__(f"topic {topic!r}: {problem}")


def deliver(router: Router, topic: str, payload: Any = b"", **options: Unpack[DeliveryOptions]) -> Result:
    """Run one message through middleware, binding and controller, by the code of a worker, and say what became of it.

    No server is asked for anything, and no setting of the environment counts. Async controllers of all calls share one
    event loop, as in a worker's process. The `timeout_s` of a route holds for async controllers alone.

    Args:
        payload: Bytes and text as they are; a model, dict, list or number as JSON.
        **options: See `DeliveryOptions`.

    Raises:
        NoSingleRouteError: No route takes the topic, or several do and none is named.
        RouteError: The controller is given by name, and cannot be loaded.
        PublishError: Nobody can publish such a payload.
        ValueError: Nobody can publish to such a topic, or a message like this.
        TypeError: There is no such option, or it is of another type.
    """
    return _deliver(_loop(), router, topic, payload, options)


async def deliver_async(router: Router, topic: str, payload: Any = b"", **options: Unpack[DeliveryOptions]) -> Result:
    """Like `deliver`, in an async test: async controllers run on the test's own event loop, beside its fixtures."""
    loop = asyncio.get_running_loop()
    # Not in the loop's own threads, in which the sync links of the chain are run.
    return await loop.run_in_executor(_threads(), _deliver, EventLoop(loop), router, topic, payload, options)


def _deliver(loop: EventLoop, router: Router, topic: str, payload: Any, options: DeliveryOptions) -> Result:
    given: tuple[object, object] = (router, topic)
    if not (isinstance(given[0], Router) and isinstance(given[1], str)):
        raise TypeError(f"deliver takes a Router and a topic, not {given[0]!r} and {given[1]!r}")
    if problem := topic_problem(topic):
        raise ValueError(f"topic {topic!r}: {problem}")
    check_options(options)
    attempt = options.get("attempt", 1)
    route = _route(router, topic, options.get("route"))
    properties = options.get("user_properties", ())
    envelope = Envelope(
        topic=topic,
        payload=publishable(topic, payload),
        qos=options.get("qos", 1),
        retain=options.get("retain", False),
        received_at=options.get("received_at", time.time()),
        content_type=options.get("content_type"),
        response_topic=options.get("response_topic"),
        correlation_data=options.get("correlation_data"),
        user_properties=tuple(properties.items() if isinstance(properties, Mapping) else properties),
    )
    most_bytes = _process().settings.ingest_max_payload_bytes
    if len(envelope.payload) > most_bytes:
        too_large = PayloadTooLargeError(size_bytes=len(envelope.payload), allowed_bytes=most_bytes)
        return Result(outcome=Dead("too_large"), error=too_large, published=())
    process = _process().of_one_run(loop)
    task = _RehearsedTask(route, _RehearsalApp(process, Gate((route,)), router))
    task.load()
    arguments = [orjson.loads(orjson.dumps(envelope.to_wire()))]
    headers = {
        "id": options.get("message_id") or str(uuid.uuid4()),
        "task": route.name,
        "retries": attempt - 1,
        "hostname": _WORKER,
        "delivery_info": {"routing_key": route.queue},
        "properties": {"delivery_tag": _WORKER},
        "routemq": {"generation": options.get("generation", 0), "failures": [], "replays": [], "strikes": 0},
    }
    request = RouteContext(headers, arguments, {})
    # What it raises is for Celery; who judged the error has it.
    with running(task, request), contextlib.suppress(Exception):
        task.execute(request, arguments)
    error, fate = process.outcomes.error, process.outcomes.fate
    if error is not None and (fate is None or not isinstance(error, _JUDGED)):
        raise error
    return Result(outcome=fate or Done(), error=error, published=tuple(process.publisher.published))


class _RehearsedOutcomes(Outcomes):
    """Judges as in a worker; what is to be recorded is remembered here.

    Attributes:
        error: What was judged.
        fate: What becomes of the message; None while it is done.
    """

    error: BaseException | None = None
    fate: Later | Dead | None = None

    def settle(self, held: Held, error: BaseException, *, patience_s: float | None = None) -> Settled:
        """Judge an error."""
        self.error = error
        settled = super().settle(held, error, patience_s=patience_s)
        self.fate = None if isinstance(settled.fate, Kept) else settled.fate
        return settled

    def _record(self, held: Held, outcome: Later | Dead, made: TaskMessage | DeadLetter) -> DeadLetter | bool | None:
        return made if isinstance(made, DeadLetter) else True


class _RehearsedPublisher(Publisher):
    """A publisher to a broker that confirms everything at once."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.published: list[Published] = []

    def publish(self, publication: Publication) -> None:
        """Remember it."""
        self.published.append(
            Published(
                topic=publication.topic,
                payload=publication.payload,
                qos=publication.qos,
                retain=publication.retain,
                properties=publication.properties,
            )
        )
        publication.settle(None)
        if publication.question is not None:
            publication.question.settle("nobody answers in `deliver`; TestApp has a broker for a device that does")


class _RehearsalProcess(ProcessResources):
    outcomes: _RehearsedOutcomes
    publisher: _RehearsedPublisher

    def __init__(self) -> None:
        # Its defaults alone: a test means the same on every machine.
        self.settings = Settings.model_construct()
        super().__init__(self.settings, Stopping(), traces=False)
        client = connect_redis(self.settings)
        self.outcomes = _RehearsedOutcomes(client, Keys(), dead_letters=DeadLetters.of(self.settings, client))

    def of_one_run(self, loop: EventLoop) -> Self:
        process = copy(self)
        process.outcomes, process.loop = copy(self.outcomes), loop
        process.publisher = _RehearsedPublisher(self.settings)
        return process


@dataclass(frozen=True, slots=True)
class _RehearsalApp:
    """What a task asks its app for."""

    process: _RehearsalProcess
    gate: Gate
    router: Router


class _RehearsedTask(RouteTask):
    """A route's task that no Celery app knows."""

    app: Any = None  # each instance has its own, where a task of Celery has one for all of its class
    request_stack = RequestStack()

    def __init__(self, route: Route, app: _RehearsalApp) -> None:
        super().__init__(route)
        self.app = app


@cache
def _process() -> _RehearsalProcess:
    return _RehearsalProcess()


@cache
def _loop() -> EventLoop:
    return EventLoop()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST_AT_ONCE, thread_name_prefix="routemq-deliver")


def _route(router: Router, topic: str, name: str | None) -> Route:
    takers = [each for each in router.routes if each.template.match(topic) is not None and name in (None, each.name)]
    if len(takers) != 1:
        raise NoSingleRouteError(
            topic=topic, found=[each.name for each in takers], known=[each.name for each in router.routes]
        )
    return takers[0]
