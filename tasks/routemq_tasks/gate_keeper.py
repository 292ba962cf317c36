"""What a worker leaves alone: routes that are paused, and queues of routes that are full of dead letters."""

import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

import redis

from routemq.connections import connect_redis
from routemq.dead_letters import DeadLetters
from routemq.lifecycle.moves import Moves
from routemq.lifecycle.scripts import UnusableKeyError
from routemq.logs import say
from routemq.paused import Pause, resting_queues
from routemq.pauses import Reminders
from routemq.queues import Keys, lists_of
from routemq.refusals import explain, is_silence
from routemq.route import Route
from routemq.settings import Settings
from routemq.text import error_line
from routemq_tasks.execution import RouteTask

logger = logging.getLogger(__name__)

_LOOK_S = 0.5
"""A route that is paused stops on all workers within a second."""

_SWEEP_S = 60.0
"""What was set aside and that nobody took up is looked for so often."""

_SAY_AGAIN_S = 30.0

_TAKE_UP_S = 0.25
"""Looking comes before taking up, however much that is."""


class GateKeeper(threading.Thread):
    """Looks twice a second which routes are paused and which are full; outlives a restart of Redis.

    A queue is left where it is while all of its routes are paused, or one of them is full. On a queue with other routes
    too, messages of a paused one are set aside as they come, and taken up when it is resumed.

    Args:
        consumer: Celery's consumer; only its own thread touches it.
    """

    def __init__(self, settings: Settings, app: Any, consumer: Any) -> None:
        super().__init__(name="routemq-gate", daemon=True)
        self._client, self._keys = connect_redis(settings), Keys(settings.key_prefix)
        self._letters = DeadLetters.of(settings, self._client, buries=False)
        self._moves = Moves(self._client, self._keys)
        self._app, self._consumer, self._gate = app, consumer, app.gate
        self._routes: tuple[Route, ...] = app.router.routes
        self._paused: dict[str, Pause] = {}
        self._left_alone: set[str] = set()
        self._to_take_up: dict[str, float] = {}
        self._looked_everywhere, self._sweep_at = False, 0.0
        self._reminders = Reminders(_SAY_AGAIN_S)
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(_LOOK_S):
            for step in (self._look_at_pauses, self._take_up, self._look_at_queues):
                try:
                    step()
                except redis.RedisError as exc:
                    if is_silence(exc):
                        text = "not looked which queues to leave alone, redis is away: %s"
                        say(logger, logging.DEBUG, text, error_line(exc))
                        break
                    why = str(exc) if isinstance(exc, UnusableKeyError) else explain(exc)
                    self._complain(why, error=None)
                # A thread that ends would let paused routes run, or keep full ones closed, and tell nobody.
                except Exception as exc:  # noqa: BLE001
                    self._complain(error_line(exc), error=exc)

    def stop(self) -> None:
        """End the thread; returns at once."""
        self._stopped.set()

    def _complain(self, why: str, *, error: Exception | None) -> None:
        if self._reminders.speak(why):
            say(logger, logging.ERROR, "which queues to leave alone is not known: %s", why, exc_info=error)

    def _look_at_pauses(self) -> None:
        before, paused = self._paused, self._gate.refresh(self._client, self._keys)
        self._paused = paused
        for name in sorted(paused.keys() - before.keys()):
            say(logger, logging.WARNING, "route %s is paused %s", name, paused[name], extra={"route": name})
        resumed = sorted(before.keys() - paused.keys())
        for name in resumed:
            say(logger, logging.WARNING, "route %s is not paused any more", name, extra={"route": name})
        self._note_what_to_take_up(resumed)

    def _note_what_to_take_up(self, resumed: Iterable[str]) -> None:
        queues = {route.queue for route in self._routes if route.name in resumed}
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + _SWEEP_S
            busy = {route.queue for route in self._routes if route.name in self._paused}
            # At first whatever is paused: a route may have been resumed while no worker was there to see it.
            queues |= {route.queue for route in self._routes} - (busy if self._looked_everywhere else frozenset())
            self._looked_everywhere = True
        queues &= {*self._app.amqp.queues.consume_from, *self._left_alone}
        queues -= resting_queues(self._paused, self._routes)
        if queues:
            # What is set aside from now on is of a route that is still paused.
            seconds, microseconds = self._client.time()
            self._to_take_up.update(dict.fromkeys(queues, seconds + microseconds / 1e6))

    def _take_up(self) -> None:
        until = time.monotonic() + _TAKE_UP_S
        while self._to_take_up and time.monotonic() < until:
            queue, before = next(iter(self._to_take_up.items()))
            if not any(self._moves.take_up(name, until=before) for name in lists_of(queue)):
                del self._to_take_up[queue]

    def _look_at_queues(self) -> None:
        full = self._letters.full_routes()
        resting = resting_queues(self._paused, self._routes) - self._queues_of_own_tasks()
        closed = {*full.values(), *resting}
        for queue in sorted(closed & set(self._app.amqp.queues.consume_from)):
            if queue not in self._left_alone and queue not in resting:
                routes = ", ".join(route for route, its_queue in full.items() if its_queue == queue)
                say(logger, logging.ERROR,
                    "queue %s is not consumed any more: %s has as many dead letters as it may; "
                    "replay, discard or purge some", queue, routes, extra={"queue": queue},
                )  # fmt: skip
            self._left_alone.add(queue)
            self._consumer.call_soon(_close, self._consumer, queue)
        for queue in sorted(self._left_alone - closed):
            say(logger, logging.WARNING, "queue %s is consumed again", queue, extra={"queue": queue})
            self._left_alone.discard(queue)
            self._consumer.call_soon(_open, self._consumer, queue)
        self._gate.resting = resting & self._left_alone

    def _queues_of_own_tasks(self) -> frozenset[str]:
        """Return the queues on which tasks of the application's own wait, too, which are never paused."""
        own = (task for task in self._app.tasks.values() if not isinstance(task, RouteTask))
        return frozenset(queue for task in own if (queue := getattr(task, "queue", None)))


def _close(consumer: Any, queue: str) -> None:
    if consumer.task_consumer is None:
        # Not connected: it will consume what is selected when it is.
        consumer.app.amqp.queues.deselect(queue)
    else:
        consumer.cancel_task_queue(queue)


def _open(consumer: Any, queue: str) -> None:
    if consumer.task_consumer is None:
        queues = consumer.app.amqp.queues
        queues.select_add(queues[queue])
    else:
        consumer.add_task_queue(queue)
