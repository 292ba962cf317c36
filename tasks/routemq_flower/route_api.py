"""The JSON behind the page "Routes"."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import redis
from kombu.transport.redis import Channel
from tornado import web

from routemq.dead_letters.audit import write_audit
from routemq.envelope import TaskMessage
from routemq.errors import EnvelopeError
from routemq.lifecycle.moves import SET_ASIDE_S
from routemq.metrics.presence import Processes, ProcessReport, read_processes
from routemq.metrics.rates import Rates
from routemq.metrics.totals import RouteTotals, read_totals
from routemq.paused import Pause
from routemq.refusals import explain
from routemq.route import Route
from routemq.text import printable
from routemq_flower.access import ApiHandler
from routemq_flower.requests import json_object, only_text

logger = logging.getLogger(__name__)

_INSPECTED_EVERY_S = 10.0
_ANSWER_S = 3.0
_STILL = Rates(incoming=0.0, outgoing=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """What waits on a queue.

    Attributes:
        depth: Messages that wait for a worker.
        delayed: Retries that are not due.
        due_at: When the first of them is, Unix seconds; None of none, and of what waits until its route is resumed.
        oldest_at: When the message that is next was received, Unix seconds; None of an empty queue, or of a message
            that another Celery client sent.
    """

    depth: int
    delayed: int
    due_at: float | None
    oldest_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueHands:
    """Who serves a queue."""

    workers: tuple[str, ...]
    concurrency: int


class RouteList(ApiHandler):
    """GET: every route with its queue, rates, workers and dead letters."""

    @web.authenticated
    async def get(self) -> None:
        self._inspect_now_and_then()
        backend = self.backend
        queues, totals, dead, full, paused, processes = await backend.read(self._look)
        inspected, known = self.application.workers, self.application.events.state.workers
        hands, waiting = serving(inspected, known, processes), awaits_answer(inspected, known, processes)
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
            | {"paused": _pause(paused.get(route.name))}
            | {"dead_letters": dead.get(route.name, 0), "is_full": route.name in full}
            | {name: getattr(totals.get(route.name, RouteTotals()), name) for name in ("received", "done", "retried")}
            for route in backend.router.routes
        ]
        workers = [_worker(report) for report in processes.live("worker")]
        await self.answer({"routes": rows, "workers": workers, "now": time.time(), "blind": self.blindness})

    def _look(
        self,
    ) -> tuple[dict[str, QueueState], dict[str, RouteTotals], dict[str, int], set[str], dict[str, Pause], Processes]:
        backend = self.backend
        names = sorted(backend.router.queues)
        pipe = backend.client.pipeline(transaction=False)
        # Messages of other priorities, which another Celery client may send, lie on lists of their own.
        lists = {name: [backend.keys.queue(name + suffix) for suffix in _priority_suffixes()] for name in names}
        for name in names:
            for key in lists[name]:
                pipe.llen(key)
            pipe.zcard(backend.keys.delayed(name))
            pipe.zrange(backend.keys.delayed(name), 0, 0, withscores=True)
            pipe.lindex(backend.keys.queue(name), -1)
        routes = [route.name for route in backend.router.routes]
        for route in routes:
            pipe.zcard(backend.keys.dead_by_time(route))
        answers = iter(backend.letters.reports.good(pipe.execute(raise_on_error=False), None))
        queues = {}
        for name in names:
            depth = sum(next(answers) or 0 for _ in lists[name])
            delayed, first = next(answers) or 0, next(answers)
            # What was set aside with a paused route has no time.
            due_at = first[0][1] if first and first[0][1] < SET_ASIDE_S else None
            queues[name] = QueueState(
                depth=depth, delayed=delayed, due_at=due_at, oldest_at=_received_at(next(answers))
            )
        dead = {route: next(answers) or 0 for route in routes}
        totals = read_totals(backend.client, backend.keys)
        try:
            paused = backend.pauses.read(backend.router.routes)
        except redis.ResponseError as exc:
            # Another program's key must not hide the rest.
            logger.warning("it is not known what is paused: %s", explain(exc))
            paused = {}
        processes = read_processes(backend.client, backend.keys)
        return queues, totals, dead, set(backend.letters.full_routes()), paused, processes

    def _inspect_now_and_then(self) -> None:
        # Flower asks a worker what it serves when it starts, and then only when a person asks.
        settings = self.application.settings
        if not any(worker.alive for worker in self.application.events.state.workers.values()):
            return
        if time.monotonic() - settings.get("routemq_inspected_at", float("-inf")) > _INSPECTED_EVERY_S:
            settings["routemq_inspected_at"] = time.monotonic()
            self.application.update_workers()


class RoutePause(ApiHandler):
    """POST: pause or resume a route."""

    @web.authenticated
    async def post(self, action: str) -> None:
        self.require_change_allowed()
        body = json_object(self.request.body)
        only_text(body, required="route", optional="why")
        backend, name = self.backend, body["route"]
        if action == "pause":
            route = backend.router.get(name)
            if route is None:
                raise web.HTTPError(404, "This Flower's application has no such route.")
            done = await backend.read(backend.pauses.pause, route, who=self.actor, why=body.get("why", ""))
        else:
            paused = await backend.read(backend.pauses.read, backend.router.routes)
            done = name in paused and await backend.read(backend.pauses.resume, paused[name].name, who=self.actor)
        await self.answer({"done": int(done)})


class WorkerHands(ApiHandler):
    """POST: let a worker's pool grow or shrink by one, as `celery control pool_grow` does."""

    @web.authenticated
    async def post(self, action: str) -> None:
        self.require_change_allowed()
        body = json_object(self.request.body)
        only_text(body, required="worker")
        backend, name = self.backend, body["worker"]
        processes = await backend.read(read_processes, backend.client, backend.keys)
        report = next((found for found in processes.live("worker") if found.name == name), None)
        if report is None:
            raise web.HTTPError(404, "There is no such worker now.")
        if report.details.get("scaling") != "hand":
            why = "scales by itself" if report.details.get("scaling") == "auto" else "has a pool of a fixed size"
            raise web.HTTPError(409, "%s %s", name, why)
        if action == "shrink" and report.hands <= 1:
            raise web.HTTPError(409, "%s has one hand left", name)
        change = f"pool_{action}"
        answers = await backend.search(
            self.capp.control.broadcast, change, arguments={"n": 1}, destination=[name], reply=True, timeout=_ANSWER_S
        )
        answer = next((found[name] for found in answers or [] if name in found), None)
        if answer is None:
            raise web.HTTPError(503, "%s has not answered; it may do it all the same", name)
        if "ok" not in answer:
            raise web.HTTPError(409, "%s: %s", name, printable(str(answer.get("error"))))
        await backend.read(write_audit, backend.client, backend.keys, action, who=self.actor, detail=f"worker {name}")
        await self.answer({"done": 1})


def serving(
    inspected: Mapping[str, Mapping[str, Any]], known: Mapping[str, Any], processes: Processes
) -> dict[str, QueueHands]:
    """Return who serves each queue: by the workers' own reports, and of others by what Flower hears of them.

    Args:
        inspected: Worker → what it answered last; a worker that is gone stays here.
        known: Worker → its state by its heartbeats.
        processes: What they report themselves. It needs no events, and tells within seconds of one that was killed.
    """
    hands = {report.name: dict.fromkeys(report.queues, report.hands) for report in processes.live("worker")}
    told = _told(processes)
    for worker, info in inspected.items():
        state = known.get(worker)
        if worker not in told and (state is None or state.alive):
            queues = info.get("active_queues") or []
            hands[worker] = {queue["name"]: _concurrency(info.get("stats") or {}) for queue in queues}
    found: dict[str, QueueHands] = {}
    for worker, of_queues in sorted(hands.items()):
        for queue, concurrency in of_queues.items():
            before = found.get(queue, QueueHands(workers=(), concurrency=0))
            found[queue] = QueueHands(workers=(*before.workers, worker), concurrency=before.concurrency + concurrency)
    return found


def awaits_answer(inspected: Mapping[str, Mapping[str, Any]], known: Mapping[str, Any], processes: Processes) -> bool:
    """Return whether a live worker has not said yet what it serves; see `serving`."""
    told = _told(processes) | {name for name, info in inspected.items() if "active_queues" in info}
    return any(state.alive and worker not in told for worker, state in known.items())


def _told(processes: Processes) -> set[str]:
    return {report.name for report in processes.reports if report.kind == "worker"}


def _concurrency(stats: Mapping[str, Any]) -> int:
    pool = stats.get("pool") or {}
    processes = pool.get("processes")
    # A pool that grew or shrank has other processes than it was started with.
    if isinstance(processes, list) and processes:
        return len(processes)
    number = pool.get("max-concurrency", 1)
    return number if isinstance(number, int) else 1


def _row(route: Route, queue: QueueState, rates: Rates | None, hands: QueueHands | None, needed: int) -> dict[str, Any]:
    return {
        "name": route.name,
        "template": route.template.text,
        "filter": route.template.filter,
        "queue": route.queue,
        "controller": route.controller,
        "shared": route.shared,
        "worker_count": route.worker_count,
        "batch": None if route.batch is None else {**asdict(route.batch), "gathers": route.gathers},
        "queue_worker_count": needed,
        "depth": queue.depth,
        "delayed": queue.delayed,
        "due_at": queue.due_at,
        "oldest_at": queue.oldest_at,
        "rate_in": None if rates is None else round(rates.incoming, 2),
        "rate_out": None if rates is None else round(rates.outgoing, 2),
        "concurrency": 0 if hands is None else hands.concurrency,
        "workers": [] if hands is None else list(hands.workers),
    }


def _pause(pause: Pause | None) -> dict[str, Any] | None:
    return None if pause is None else {"at": pause.at, "who": pause.who, "why": pause.why}


def _worker(report: ProcessReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "queues": report.queues,
        "hands": report.hands,
        "running": report.running,
        "pool": report.details.get("pool", ""),
        "scaling": report.details.get("scaling"),
        "problem": report.problem,
        "memory_bytes": report.memory_bytes,
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
