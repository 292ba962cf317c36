"""The worker's consumer: what cannot be run is dead, with its reason, and the worker goes on."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import redis
from celery import Task
from celery.exceptions import InvalidTaskError, WorkerShutdown
from celery.worker.state import maybe_shutdown
from kombu.exceptions import OperationalError
from routemq_transport.starting_request import StartingRequest

from routemq.connections import check_redis, connect_redis
from routemq.errors import ConfigurationError, EnvelopeError
from routemq.eviction import EvictionWatch
from routemq.pauses import Pauses
from routemq.queues import Keys
from routemq.refusals import explain
from routemq.text import error_line
from routemq_tasks.admission import admit, mark_of
from routemq_tasks.channels import check_channels
from routemq_tasks.errors import UnknownRouteError
from routemq_tasks.execution import RouteTask
from routemq_tasks.fate import USUAL_POLICY, Kept, Later
from routemq_tasks.held import Held
from routemq_tasks.loop_steps import LoopSteps
from routemq_tasks.outcomes import PATIENCE_S, is_away
from routemq_tasks.upstream.public_names import OpenConsumer

logger = logging.getLogger(__name__)

EVENTS_EVERY_S = 0.1
EVENTS_PER_BATCH = 500
"""Celery sends the few events of each turn of its loop at once, and spends most of its time on these round trips."""

TURN_EVERY_S = 1.0
"""How often an idle loop shows that it turns."""

_WORKED_S = 3.0
"""A connection that lasted so long was none that Redis refuses to use."""


class RouteConsumer(OpenConsumer):
    """Celery's consumer behind a door: `admit` checks each message before Celery touches it.

    Celery's own ways with what it cannot run, to log all of it and drop it, or to end the worker, are closed.

    Attributes:
        turned_at: When its loop last turned, or it last waited for Redis, on the monotonic clock.
        trouble: Why there is no connection, None while there is one; both are read by other threads.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self.turned_at = time.monotonic()
        self.trouble: str | None = None
        self._failures = Pauses()
        self._connected_at, self._soon_lost = 0.0, False
        self._loop_steps: LoopSteps | None = None
        super().__init__(*args, **options)
        # As kombu calls an answer of Redis that it takes for final; it is waited out, as all others.
        self.connection_errors += (OperationalError,)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Return what is called with each message."""
        receive = super().create_task_handler(*args, **kwargs)
        app, strategies, callbacks = self.app, self.strategies, self.on_task_message
        if self.hub:
            self._loop_steps = self._loop_steps or LoopSteps(self.call_soon)
            self._loop_steps.take_waiting()
        tell_of = self.call_soon_ack if self._loop_steps is None else self._loop_steps.take

        def on_task_received(message: Any) -> None:
            try:
                task = admit(message, app)
                if not isinstance(task, RouteTask):
                    receive(message)
                    return
                app.gate.check(task.route)
                if self.counts_acknowledgements:
                    receive(message)
                    return
                acknowledge = partial(tell_of, message.ack_log_error)
                strategies[task.name](message, None, acknowledge, partial(tell_of, message.reject_log_error), callbacks)
            except InvalidTaskError as exc:
                self.on_invalid_task(None, message, exc)
            # Whatever a message provokes is that message's end, not the worker's.
            except Exception as exc:
                if isinstance(exc, OSError) or (isinstance(exc, redis.RedisError) and is_away(exc)):
                    # The consumer reconnects, and the message comes back.
                    raise
                self.refuse(message, exc)

        return on_task_received

    def tell_of(self, step: Callable[..., Any], *arguments: Any) -> None:
        """Let the channel know what becomes of a message: at once, or soon by the thread of its event loop."""
        if self._loop_steps is None:
            self.call_soon_ack(step, *arguments)
        else:
            self._loop_steps.take(step, *arguments)

    def update_strategies(self) -> None:
        """Let every task tell the lease that it starts, whatever class it was made of."""
        for task in self.app.tasks.values():
            if task.Request == Task.Request:
                task.Request = StartingRequest
        super().update_strategies()

    def connect(self) -> Any:
        """Connect when Redis takes writes; until then wait and say why, and refuse one that never can be used."""
        self._wait_for_redis()
        self.app.lifespan.start_worker(self.pool, lambda: self.app.process.loop, self._wait)
        self._connected_at = time.monotonic()
        connection = super().connect()
        self.trouble = None
        return connection

    def ensure_connected(self, conn: Any) -> Any:
        """Connect; an answer of Redis that kombu takes for final is waited out, as all others."""
        try:
            return super().ensure_connected(conn)
        except OperationalError as exc:
            raise redis.ConnectionError(str(exc)) from exc

    def _wait_for_redis(self) -> None:
        client = connect_redis(self.app.settings)
        try:
            if self._soon_lost:
                # What was refused then may be something that is not looked at here.
                self._wait(self._failures.next_s(), self.trouble)
            while True:
                maybe_shutdown()
                try:
                    check_redis(client)
                    check_channels(client, self.app.settings, self.steps)
                    self._look_at_pauses(client)
                    if not self._connected_at:
                        EvictionWatch(client, allowed=self.app.settings.allow_eviction).start()
                    return
                except ConfigurationError as exc:
                    logger.critical("%s", exc)
                    raise WorkerShutdown(1) from exc
                except (redis.RedisError, OSError) as exc:
                    self._say("Cannot connect to", exc)
                    self._wait(self._failures.next_s(), self.trouble)
        finally:
            client.close()

    def _look_at_pauses(self, client: "redis.Redis") -> None:
        """Know what is paused before the first message comes."""
        try:
            self.app.gate.refresh(client, Keys(self.app.settings.key_prefix))
        except redis.ResponseError as exc:
            # The keeper goes on trying, and says so.
            logger.debug("it is not known what is paused: %s", error_line(exc))

    def _say(self, what: str, error: Exception) -> None:
        why = self.trouble = explain(error)
        if self._failures.speak(f"{what} {why}"):
            logger.error("%s %s, trying again: %s", what, self.conninfo.as_uri(), why)

    def _wait(self, pause_s: float, trouble: str | None) -> None:
        self.trouble = trouble
        until = time.monotonic() + pause_s
        # A stop signal ends the wait, and whatever it was for.
        maybe_shutdown()
        while (left_s := until - time.monotonic()) > 0:
            self.turned_at = time.monotonic()
            time.sleep(min(left_s, 0.2))
            maybe_shutdown()

    def register_with_event_loop(self, hub: Any) -> None:
        """Send events in batches, now and then; and show that the loop turns."""
        super().register_with_event_loop(hub)
        hub.call_repeatedly(TURN_EVERY_S, self._turn)
        if self.event_dispatcher:
            self.event_dispatcher.buffer_limit = EVENTS_PER_BATCH
            hub.call_repeatedly(EVENTS_EVERY_S, self.flush_events)

    def perform_pending_operations(self) -> None:
        """Show that the loop turns, in pools without an event loop."""
        self._turn()
        super().perform_pending_operations()

    def _turn(self) -> None:
        self.turned_at = time.monotonic()

    def on_send_event_buffered(self) -> None:
        """An event waits for its batch."""

    def stop(self) -> None:
        """Send the events that still wait, then stop."""
        self.flush_events()
        super().stop()

    def shutdown(self) -> None:
        """Send the events of what ended while the pool was stopping, then close."""
        self.perform_pending_operations()
        self.flush_events()
        super().shutdown()

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Say why there is no connection."""
        self._soon_lost = True
        self._say("Cannot connect to", exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Let go of a connection that is lost."""
        self._soon_lost = time.monotonic() - self._connected_at < _WORKED_S
        if not self._soon_lost:
            self._failures.over()
        self._say("Lost the connection to", exc)
        if self.app.settings.transport == "stock":
            # Kombu would give back what it holds by way of that very connection, and end the worker with an
            # AttributeError. The messages come back by their visibility timeout.
            for channel in self.connection.transport.channels:
                channel.qos.restore_at_shutdown = False
        # Celery would close gossip's consumers by way of the connection that it has just dropped, and log a traceback.
        self.gossip.consumers = None
        super().on_connection_error_after_connected(exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Bury what Kombu could not unpack."""
        self.refuse(message, EnvelopeError(problem=f"it cannot be unpacked: {error_line(exc)}", data=b""))

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Bury what names no task."""
        self.refuse(message, EnvelopeError(problem="it names no task", data=b""))

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Keep what names a task that Celery does not know."""
        self.refuse(message, UnknownRouteError(route=_task_name(message) or "", problem="Celery has no such task"))

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Bury what Celery refused."""
        self.refuse(message, EnvelopeError(problem=str(exc), data=b""))

    def refuse(self, message: Any, error: Exception) -> None:
        """Let a message that cannot be run become what it must: a dead letter, or one that comes back."""
        held = self._held(message)
        process = self.app.process
        settled = process.outcomes.settle(held, error, patience_s=PATIENCE_S)
        if process.runs is not None:
            process.runs.record(held, settled, error)
        if not message.acknowledged:
            self._let_go(message)
        events = self.event_dispatcher
        if isinstance(settled.fate, Kept) or not (events and events.enabled):
            return
        events.send("task-received", uuid=held.id, name=held.route, args="", kwargs="{}", retries=0)
        kind = "task-retried" if isinstance(settled.fate, Later) else "task-failed"
        events.send(kind, uuid=held.id, exception=settled.told, traceback="")

    def _let_go(self, message: Any) -> None:
        if self.app.settings.transport == "routemq":
            # If its outcome is recorded, there is nothing to give back.
            message.reject_log_error(logger, self.connection_errors, requeue=True)
            return
        # Celery's own transport would queue it again at once, and again.
        self.app.process.outcomes.give_back(message.delivery_tag, patience_s=PATIENCE_S)
        message.ack_log_error(logger, self.connection_errors)

    def _held(self, message: Any) -> Held:
        queue, name = message.delivery_info.get("routing_key"), _task_name(message)
        queue = queue if isinstance(queue, str) else ""
        task = self.app.tasks.get(name)
        return Held.of_headers(
            message.headers,
            lambda: message.decode()[0],
            tag=message.delivery_tag,
            queue=queue,
            worker=self.hostname,
            route=self._route_of(queue),
            strikes=_strikes(message),
            policy=task.route.retry if isinstance(task, RouteTask) else USUAL_POLICY,
        )

    def _route_of(self, queue: str) -> str:
        """Return the queue's route, if it has one only; else the queue stands in for it."""
        routes = [route.name for route in self.app.router.routes if route.queue == queue]
        return routes[0] if len(routes) == 1 else queue or "(unknown)"


def _strikes(message: Any) -> int:
    try:
        return mark_of(message).strikes
    except EnvelopeError:
        return 0


def _task_name(message: Any) -> str | None:
    name = message.headers.get("task") if isinstance(message.headers, dict) else None
    return name if isinstance(name, str) else None
