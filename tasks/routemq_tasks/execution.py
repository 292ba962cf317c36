"""The task: one message through its middleware and controller, and its outcome recorded.

Longer than most: all ways by which a run can end stand beside each other here.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from celery import Task
from celery.exceptions import Reject as CeleryReject
from celery.exceptions import Retry as CeleryRetry

from routemq.envelope import Envelope
from routemq.errors import EnvelopeError
from routemq.message import Message, PublishProperties
from routemq.middleware import Chain, Context
from routemq.reply import Reply
from routemq.retry import Retry
from routemq.route import Route
from routemq.text import error_line
from routemq_tasks.application import Application
from routemq_tasks.client import MessageClient
from routemq_tasks.errors import NotReplacedError, UnroutableError
from routemq_tasks.fate import Kept, Later
from routemq_tasks.green import call
from routemq_tasks.held import Held
from routemq_tasks.outcomes import is_shutdown
from routemq_tasks.process import ProcessResources
from routemq_tasks.request_stack import RequestStack
from routemq_tasks.stray_copy import end_copy
from routemq_tasks.upstream.tracer import Tracer, hasten_current_task, tracer_of

if TYPE_CHECKING:
    from routemq_tasks.run_spans import Run

from routemq.logs import say

logger = logging.getLogger(__name__)

HARD_LIMIT_GRACE_S = 5.0
"""A controller that does not heed its soft time limit is killed this much later."""


class RouteTask(Task):
    """The Celery task of one route.

    Its run is over when its outcome stands in Redis. Celery then hears of it in its own words, so that events, logs and
    Flower are right: a return is a success, `celery.exceptions.Retry` a retry, anything else a failure. Only a success
    is acknowledged: after a retry or a failure the message has left `unacked` already, see `RouteRequest`.
    """

    app: Application
    Strategy = "routemq_tasks.strategy:route_strategy"
    Request = "routemq_tasks.request:RouteRequest"
    acks_late = True
    ignore_result = True
    typing = False  # what arrives is judged by the execution, never by Celery's own reading of signatures

    def __init__(self, route: Route) -> None:
        self.route = route
        self.name = route.name
        self.queue = route.queue
        if route.timeout_s is not None:
            self.soft_time_limit = route.timeout_s
            self.time_limit = route.timeout_s + HARD_LIMIT_GRACE_S
        self._chain: Chain | None = None
        self._encode: Callable[[Any, Envelope], bytes] | None = None
        self._tracer: Tracer | None = None

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Take the place of Celery's stack of requests, which is asked for at every turn of a message."""
        # Once: another app of the process binds the same class, and the tracers of this one have its stack.
        if not isinstance(cls.request_stack, RequestStack):
            cls.request_stack = RequestStack()
        hasten_current_task()

    @property
    def __trace__(self) -> Tracer | None:
        """What a pool calls with a message; Celery sets it in each process."""
        return self._tracer

    @__trace__.setter
    def __trace__(self, tracer: Tracer) -> None:
        self._tracer = tracer_of(self, self.execute, tracer)

    def load(self) -> Chain:
        """Import the controller, if the route names it, and return the chain.

        Raises:
            RouteError: There is no such controller, or its signature cannot be bound.
        """
        if self._chain is None:
            if self.route.reply is not None:
                self._encode = self.route.encoder()
            self._chain = self.route.chain()
        return self._chain

    def run(self, *arguments: Any) -> None:
        """Run one message; `arguments` is the envelope, in its wire form."""
        self.execute(self.request, arguments)

    def execute(self, request: Any, arguments: Any) -> None:
        """Run one message.

        Args:
            request: Celery's, with the headers of the message.
            arguments: The envelope, as it came.
        """
        process: ProcessResources | None = None
        span: Run | None = None
        try:
            app = self.app
            process = app.process
            app.gate.check(self.route)
            if process.runs is not None:
                span = process.runs.begin(self.route.template.text, request, arguments)
            self._run_message(process, request, envelope_of(arguments), span)
        # Whatever a controller raises is the message's failure, not the process's.
        except BaseException as exc:
            if is_shutdown(exc):
                # The message stays unacknowledged, and goes back to its queue.
                if span is not None:
                    span.interrupted()
                raise
            told = self.end(process, request, arguments, exc, span)
        else:
            if span is not None:
                span.done()
            if process.done is not None:
                process.done.count(self.name)
            return
        # Out here: on a stand-in hangs nothing of what it stands for.
        raise told

    def retry(
        self,
        *_new: object,
        exc: object = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        **_options: object,
    ) -> Exception:
        """Ask for another run, as `raise Retry(…)` does; Celery's own would queue the message a second time.

        Raises:
            Retry: With `throw`; else it is returned, to be raised.
        """
        if eta is not None:
            countdown = (eta - datetime.now(eta.tzinfo)).total_seconds()
        # Celery takes words for it, too, or a class. Of an exception nothing is asked that it may fail to say.
        error = exc if isinstance(exc, BaseException) else None
        told = error_line(error) if error is not None else exc
        why = "" if told is None else str(told)
        asked = Retry(why, delay_s=countdown)
        asked.__cause__ = error
        if throw:
            raise asked
        return asked

    def replace(self, sig: object) -> NoReturn:
        """Refuse what Celery would send in place of the message, with each run of it anew.

        Raises:
            NotReplacedError: Always.
        """
        raise NotReplacedError(route=self.name)

    def held(self, headers: Mapping[str, Any], arguments: Callable[[], Any], *, tag: str, worker: str) -> Held:
        """Return one of this route's messages, as far as it can be read, from what Celery has of it."""
        return Held.of_headers(
            headers,
            arguments,
            tag=tag,
            queue=headers["delivery_info"]["routing_key"],
            worker=worker,
            strikes=headers["routemq"]["strikes"],
            policy=self.route.retry,
        )

    def _run_message(self, process: ProcessResources, request: Any, envelope: Envelope, span: "Run | None") -> None:
        message = self.message(request, envelope)
        chain = self._chain or self.load()
        client = MessageClient(process.publisher, self.hand_over(process, chain), process.runs)
        context = Context(message=message, client=client)
        subject = context if self.route.batch is None else [context]
        reply_to = self._reply_to(message)
        asked = None if reply_to is None else (message, reply_to)
        self.run_chain(process, chain, subject, client, span, asked=asked)
        decision = message.decision
        if decision is not None:
            raise decision

    def message(self, request: Any, envelope: Envelope) -> Message:
        """Return what a controller sees of a message.

        Args:
            request: Celery's, with the headers of the message.

        Raises:
            UnroutableError: Its topic is not of this route.
        """
        params = self.route.template.match(envelope.topic)
        if params is None:
            raise UnroutableError(
                route=self.name, problem=f"the topic {envelope.topic!r} is not of {self.route.template.text!r}"
            )
        own = getattr(request, "routemq", None) or {}
        return Message(
            id=request.id,
            route=self.name,
            envelope=envelope,
            params=params,
            attempt=(request.retries or 0) + 1,
            generation=own.get("generation", 0),
        )

    @staticmethod
    def hand_over(process: ProcessResources, chain: Chain) -> Callable[[Callable[[], Any]], Any]:
        """Return what calls a function where a run with this chain may be woken."""
        return process.loop.hand_over if chain.is_async else call

    def run_chain(
        self,
        process: ProcessResources,
        chain: Chain,
        subject: Any,
        client: MessageClient,
        span: "Run | None",
        *,
        asked: tuple[Message, str] | None = None,
    ) -> None:
        """Run middleware and controller within the route's time limit; done is what the MQTT broker has confirmed.

        Args:
            subject: What the chain takes.
            client: Of all that it runs.
            asked: A request, and where what the controller returns goes.
        """
        timeout_s = self.route.timeout_s
        soft_limit = process.soft_limit
        try:
            soft_limit.start(timeout_s)
            try:
                if chain.is_async:
                    start = partial(chain.run, subject)
                    result = process.loop.run(start if span is None else span.carried(start), timeout_s=timeout_s)
                else:
                    # What it sets in context variables is not for the thread's next message.
                    result = copy_context().run(chain.run, subject)
                data = None if asked is None or self._encode is None else self._encode(result, asked[0].envelope)
            finally:
                soft_limit.end()
            end_copy(process.pid)
            if asked is not None and data is not None and asked[0].decision is None:
                self._answer(client, *asked, data)
            client.confirm()
        except BaseException as exc:
            end_copy(process.pid, exc)
            soft_limit.end()
            client.abandon()
            raise

    def _reply_to(self, message: Message) -> str | None:
        """Return where what the controller returns goes; before it is run, which it is not for a topic of harm."""
        reply = self.route.reply
        if reply is None or message.envelope.response_topic is None:
            return None
        return reply.topic_for(message, (route.template for route in self.app.router.routes))

    def _answer(self, client: MessageClient, message: Message, topic: str, data: bytes) -> None:
        """Publish the answer; the message is done when the MQTT broker has it, so that it is sent once at least."""
        reply = self.route.reply or Reply()
        properties = PublishProperties(correlation_data=message.envelope.correlation_data, expiry_s=reply.expiry_s)
        client.publish(topic, data, reply.qos, properties=properties)

    def end(
        self,
        process: ProcessResources | None,
        request: Any,
        arguments: Any,
        error: BaseException,
        span: "Run | None",
        *,
        patience_s: float | None = None,
    ) -> Exception:
        """Have it recorded what becomes of a message whose run failed, and return what to tell Celery."""
        told: Exception = CeleryReject("its outcome is not recorded", requeue=True)
        if process is None:
            text = "message %s (%s) stays on its queue: %s"
            say(logger, logging.ERROR, text, request.id, self.name, error_line(error))
            return told
        held = self.held(
            vars(request), lambda: arguments, tag=request.properties["delivery_tag"], worker=request.hostname
        )
        settled = process.outcomes.settle(held, error, patience_s=patience_s)
        if span is not None:
            span.failed(settled, error)
        if isinstance(settled.fate, Kept):
            return told
        told = settled.error
        if isinstance(settled.fate, Later):
            told = CeleryRetry(exc=told, when=settled.fate.delay_s)
        return told


def envelope_of(arguments: Sequence[Any]) -> Envelope:
    """Read the only argument of a message.

    Raises:
        EnvelopeError: It is no envelope.
    """
    if len(arguments) != 1:
        raise EnvelopeError(problem=f"{len(arguments)} arguments instead of one", data=b"")
    return Envelope.from_wire(arguments[0])
