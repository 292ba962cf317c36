"""The JSON behind the page "Routes"."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kombu.transport.redis import Channel
from tornado import web

from routemq.counters import RouteTotals, read_totals
from routemq.envelope import TaskMessage
from routemq.errors import EnvelopeError
from routemq.metrics.rates import Rates
from routemq.routing import Route
from routemq_flower.access import ApiHandler

_INSPECTED_EVERY_S = 10.0
_STILL = Rates(incoming=0.0, outgoing=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """What waits on a queue.

    Attributes:
        depth: Messages that wait for a worker.
        delayed: Retries that are not due.
        oldest_at: When the message that is next was received, Unix seconds; None of an empty queue, or of a message
            that another Celery client sent.
    """

    depth: int
    delayed: int
    oldest_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """Who serves a queue."""

    workers: tuple[str, ...]
    concurrency: int


class RouteList(ApiHandler):
    """GET: every route with its queue, rates, workers and dead letters."""

    @web.authenticated
    async def get(self) -> None:
        self._inspect_now_and_then()
        backend = self.backend
        queues, totals, dead, full = await backend.read(self._look)
        inspected, known = self.application.workers, self.application.events.state.workers
        hands, waiting = serving(inspected, known), awaits_answer(inspected, known)
        rates = backend.rates.add(totals)
        needed = backend.router.queues
        rows = [
            _row(
                route,
                queues[route.queue],
                None if rates is None else rates.get(route.name, _STILL),
                hands.get(route.queue),
                needed[route.queue],
            )
            # A worker that was not asked yet may serve what nobody seems to serve.
            | ({"concurrency": None, "workers": []} if waiting and route.queue not in hands else {})
            | {"dead_letters": dead.get(route.name, 0), "is_full": route.name in full}
            | {name: getattr(totals.get(route.name, RouteTotals()), name) for name in ("received", "done", "retried")}
            for route in backend.router.routes
        ]
        await self.answer({"routes": rows, "now": time.time(), "blind": self.blindness})

    def _look(self) -> tuple[dict[str, QueueState], dict[str, RouteTotals], dict[str, int], set[str]]:
        backend = self.backend
        names = sorted(backend.router.queues)
        pipe = backend.client.pipeline(transaction=False)
        # Messages of other priorities, which another Celery client may send, lie on lists of their own.
        lists = {name: [backend.keys.queue(name + suffix) for suffix in _priority_suffixes()] for name in names}
        for name in names:
            for key in lists[name]:
                pipe.llen(key)
            pipe.zcard(backend.keys.delayed(name))
            pipe.lindex(backend.keys.queue(name), -1)
        routes = [route.name for route in backend.router.routes]
        for route in routes:
            pipe.zcard(backend.keys.dead_by_time(route))
        answers = iter(pipe.execute())
        queues = {}
        for name in names:
            depth = sum(next(answers) for _ in lists[name])
            queues[name] = QueueState(depth=depth, delayed=next(answers), oldest_at=_received_at(next(answers)))
        dead = {route: next(answers) for route in routes}
        totals = read_totals(backend.client, backend.keys)
        return queues, totals, dead, set(backend.letters.full_routes())

    def _inspect_now_and_then(self) -> None:
        # Flower asks a worker what it serves when it starts, and then only when a person asks.
        settings = self.application.settings
        if not any(worker.alive for worker in self.application.events.state.workers.values()):
            return
        if time.monotonic() - settings.get("routemq_inspected_at", float("-inf")) > _INSPECTED_EVERY_S:
            settings["routemq_inspected_at"] = time.monotonic()
            self.application.update_workers()


def serving(inspected: Mapping[str, Mapping[str, Any]], known: Mapping[str, Any]) -> dict[str, Hands]:
    """Return who serves each queue, by what Flower's inspector and its events say.

    Args:
        inspected: Worker → what it answered last; a worker that is gone stays here.
        known: Worker → its state by its heartbeats.
    """
    found: dict[str, Hands] = {}
    for worker, info in sorted(inspected.items()):
        state = known.get(worker)
        if state is not None and not state.alive:
            continue
        for queue in info.get("active_queues") or []:
            before = found.get(queue["name"], Hands(workers=(), concurrency=0))
            found[queue["name"]] = Hands(
                workers=(*before.workers, worker),
                concurrency=before.concurrency + _concurrency(info.get("stats") or {}),
            )
    return found


def awaits_answer(inspected: Mapping[str, Mapping[str, Any]], known: Mapping[str, Any]) -> bool:
    """Return whether a live worker has not said yet what it serves; see `serving`."""
    return any(state.alive and "active_queues" not in inspected.get(worker, {}) for worker, state in known.items())


def _concurrency(stats: Mapping[str, Any]) -> int:
    pool = stats.get("pool") or {}
    processes = pool.get("processes")
    # A pool that grew or shrank has other processes than it was started with.
    if isinstance(processes, list) and processes:
        return len(processes)
    number = pool.get("max-concurrency", 1)
    return number if isinstance(number, int) else 1


def _row(route: Route, queue: QueueState, rates: Rates | None, hands: Hands | None, needed: int) -> dict[str, Any]:
    return {
        "name": route.name,
        "template": route.template.text,
        "filter": route.template.filter,
        "queue": route.queue,
        "controller": route.controller,
        "shared": route.shared,
        "worker_count": route.worker_count,
        "queue_worker_count": needed,
        "depth": queue.depth,
        "delayed": queue.delayed,
        "oldest_at": queue.oldest_at,
        "rate_in": None if rates is None else round(rates.incoming, 2),
        "rate_out": None if rates is None else round(rates.outgoing, 2),
        "concurrency": 0 if hands is None else hands.concurrency,
        "workers": [] if hands is None else list(hands.workers),
    }


def _priority_suffixes() -> list[str]:
    return ["", *(f"{Channel.sep}{step}" for step in Channel.priority_steps if step)]


def _received_at(item: bytes | None) -> float | None:
    if item is None:
        return None
    try:
        return TaskMessage.decode(item).envelope.received_at or None
    except EnvelopeError:
        return None
