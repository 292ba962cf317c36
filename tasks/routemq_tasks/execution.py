"""The task: one message through its middleware and controller, and its outcome recorded."""

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from billiard.common import terminate_handler_fired
from celery import Task
from celery.exceptions import Reject as CeleryReject
from celery.exceptions import Retry as CeleryRetry
from celery.exceptions import TaskPredicate, WorkerShutdown, WorkerTerminate

from routemq.dead_letters import DeadLetter
from routemq.envelope import Envelope, TaskMessage
from routemq.errors import EnvelopeError
from routemq.message import Message
from routemq.middleware import Chain, Context
from routemq.routing import Route
from routemq.text import error_line
from routemq_tasks.client import MessageClient
from routemq_tasks.errors import ControllerFailedError, OutcomeNotRecordedError, UnroutableError
from routemq_tasks.outcomes import Later
from routemq_tasks.process import ProcessResources

if TYPE_CHECKING:
    from routemq_tasks.app import RouteMQCelery

logger = logging.getLogger(__name__)

HARD_LIMIT_GRACE_S = 5.0
"""A controller that does not heed its soft time limit is killed this much later."""


class RouteTask(Task):
    """The Celery task of one route.

    Its run is over when its outcome stands in Redis. Celery then hears of it in its own words, so that events, logs and
    Flower are right: a return is a success, `celery.exceptions.Retry` a retry, anything else a failure. The
    acknowledgement that Celery sends after a retry or a failure finds nothing: the message has left `unacked` already.
    """

    app: "RouteMQCelery"
    Request = "routemq_tasks.request:RouteRequest"
    acks_late = True
    ignore_result = True
    # Celery's own report of a failure, with its traceback, becomes INFO: ours is one line, the traceback is on record.
    throws = (Exception,)
    typing = False  # what arrives is judged by the execution, never by Celery's own reading of signatures

    def __init__(self, route: Route) -> None:
        self.route = route
        self.name = route.name
        self.queue = route.queue
        if route.timeout_s is not None:
            self.soft_time_limit = route.timeout_s
            self.time_limit = route.timeout_s + HARD_LIMIT_GRACE_S
        self._chain: Chain | None = None

    def load(self) -> Chain:
        """Import the controller, if the route names it, and return the chain.

        Raises:
            RouteError: There is no such controller, or its signature cannot be bound.
        """
        if self._chain is None:
            self._chain = self.route.chain()
        return self._chain

    def run(self, *arguments: Any) -> None:
        """Run one message; `arguments` is the envelope, in its wire form."""
        process = self.app.process
        request = self.request
        envelope: Envelope | None = None
        try:
            envelope = _envelope(arguments)
            self._run_message(process, request, envelope)
        # Whatever a controller raises is the message's failure, not the process's.
        except BaseException as exc:
            if isinstance(exc, (WorkerShutdown, WorkerTerminate)) or terminate_handler_fired():
                # The worker is being stopped. The message stays unacknowledged, and goes back to its queue.
                raise
            if envelope is None:
                self._bury_malformed(process, request, exc)
            self._record_failure(process, request, envelope, exc)
        if process.done is not None:
            process.done.count(self.name)

    def _run_message(self, process: ProcessResources, request: Any, envelope: Envelope) -> None:
        params = self.route.template.match(envelope.topic)
        if params is None:
            raise UnroutableError(
                route=self.name, problem=f"the topic {envelope.topic!r} is not of {self.route.template.text!r}"
            )
        chain = self._chain or self.load()
        own = getattr(request, "routemq", None) or {}
        client = MessageClient(process.publisher)
        context = Context(
            message=Message(
                id=request.id,
                route=self.name,
                envelope=envelope,
                params=params,
                attempt=(request.retries or 0) + 1,
                generation=own.get("generation", 0),
            ),
            client=client,
        )
        timeout_s = self.route.timeout_s
        soft_limit = process.soft_limit
        try:
            soft_limit.start(timeout_s)
            try:
                if chain.is_async:
                    process.loop.run(partial(chain.run, context), timeout_s=timeout_s)
                else:
                    chain.run(context)
            finally:
                soft_limit.end()
            client.confirm()
        except BaseException:
            soft_limit.end()
            client.abandon()
            raise

    def _record_failure(
        self, process: ProcessResources, request: Any, envelope: Envelope, error: BaseException
    ) -> NoReturn:
        try:
            verdict = process.ledger.record(
                error,
                self.message_of(vars(request), envelope),
                policy=self.route.retry,
                delivery_tag=request.properties["delivery_tag"],
                worker=request.hostname,
            )
        except OutcomeNotRecordedError as exc:
            logger.error("message %s (%s): %s; it stays on its queue", request.id, self.name, exc)
            raise CeleryReject(str(exc), requeue=True) from exc
        text = process.ledger.describe(error, envelope)
        is_hidden = process.ledger.hides(error, envelope)
        shown = ControllerFailedError(text) if is_hidden else _for_celery(error)
        # Celery's report holds the text of the cause too.
        cause = None if is_hidden else error
        if isinstance(verdict, Later):
            raise CeleryRetry(exc=shown, when=verdict.delay_s) from cause
        if shown is error:
            raise error
        raise shown from cause

    def _bury_malformed(self, process: ProcessResources, request: Any, error: BaseException) -> NoReturn:
        letter = DeadLetter.malformed(
            route=self.name,
            queue=request.delivery_info["routing_key"],
            message_id=request.id,
            error=error,
            worker=request.hostname,
        )
        try:
            kept = process.ledger.bury(letter, delivery_tag=request.properties["delivery_tag"])
        except OutcomeNotRecordedError as exc:
            raise CeleryReject(str(exc), requeue=True) from exc
        if kept is not None and kept.message != letter.message:
            raise ControllerFailedError(kept.error) from None
        raise _for_celery(error) from error

    def message_of(self, headers: dict[str, Any], envelope: Envelope) -> TaskMessage:
        """Make the queued message again from a Celery request."""
        message = TaskMessage.from_request(
            headers=headers, queue=headers["delivery_info"]["routing_key"], envelope=envelope
        )
        return replace(message, show_payload=True) if self.app.settings.shows_payloads else message


def _envelope(arguments: tuple[Any, ...]) -> Envelope:
    if len(arguments) != 1:
        raise EnvelopeError(problem=f"{len(arguments)} arguments instead of one", data=b"")
    return Envelope.from_wire(arguments[0])


def _for_celery(error: BaseException) -> Exception:
    """Return the exception, or a stand-in for one that Celery or its pool would act on."""
    if isinstance(error, Exception) and not isinstance(error, (MemoryError, TaskPredicate)):
        return error
    return ControllerFailedError(error_line(error))
