"""The loop of an ingest process: one thread, its sockets, one batch at a time.

Longer than others by what it puts together: every part of the process is made here, and closed here.
"""

import logging
import time
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import psutil

from routemq.alerts.wanted import alert_watch
from routemq.connections import connect_redis
from routemq.dead_letters import DeadLetters
from routemq.eviction import EvictionWatch
from routemq.metrics.history_keeper import HistoryKeeper
from routemq.metrics.presence import Presence, ProcessReport
from routemq.queues import Keys
from routemq.routing import Router
from routemq.settings import Settings
from routemq.tracing.start_tracing import INGEST, flush, start_tracing
from routemq.upstream.mqtt_client import mqtt_ssl_context
from routemq_ingest.adoption import Adoption
from routemq_ingest.batch import OpenBatch
from routemq_ingest.errands import Errands
from routemq_ingest.exchange import Bell, Exchange
from routemq_ingest.flow import Flow
from routemq_ingest.group import Group
from routemq_ingest.group_lease import GroupLease
from routemq_ingest.handover import Handover
from routemq_ingest.memory import SessionMemory
from routemq_ingest.name_lease import NameLease
from routemq_ingest.placement import Placement
from routemq_ingest.queue_writer import QueueWriter
from routemq_ingest.reception import Reception
from routemq_ingest.remains import Remains
from routemq_ingest.session import Session, State
from routemq_ingest.statistics import Account, Health, Statistics
from routemq_ingest.subscriptions import Subscriptions

if TYPE_CHECKING:
    from routemq_ingest.receipts import Receipts

logger = logging.getLogger(__name__)

READY = "ingest is ready"
"""Begins the log line that says that everything is subscribed."""

_IDLE_S = 0.25
"""How late a stop, a keep alive or a lease may be noticed."""
_TEND_S = 0.1
_QUICK_S = 0.25
"""Longer the loop's socket to Redis may not refuse to take a batch; what it refused is waited for elsewhere."""
_LAST_FLUSH_S = 2.0
_GOODBYE_S = 1.0
_DRAIN_S = 60.0
_FRESH_S = 5.0
"""What was answered longer ago says nothing about now."""
_STUCK_S = 30.0
"""The loop waits for nothing: one that takes so long for a turn needs a restart."""


class IngestWorker:
    """Takes MQTT messages and queues them, until it is stopped.

    Args:
        index: Number of the process on this host; part of its client id.
        name: The client id instead, where Redis gives it.

    Attributes:
        left_nothing: Whether, at its end, the MQTT broker keeps nothing for its own session.
    """

    def __init__(self, settings: Settings, router: Router, *, index: int = 0, name: NameLease | None = None) -> None:
        mqtt_ssl_context(settings)  # told now, whatever else is to be waited for first
        self.client_id = f"{settings.client_id_base}-{index}" if name is None else name.client_id
        self._name, self._given = name, 0 if name is None else name.given
        self.left_nothing = False
        self._settings = settings
        self._keys = Keys(settings.key_prefix)
        self._client = connect_redis(settings)
        self._lease_client = connect_redis(settings, timeout_s=1.0)
        self._presence = Presence(connect_redis(settings, timeout_s=2.0), self._keys, self._present)
        self._history: HistoryKeeper | None = None
        if settings.history:
            self._history = HistoryKeeper(connect_redis(settings, timeout_s=2.0), self._keys)
        self._alerts = alert_watch(settings, router)
        self._writer = QueueWriter(
            self._client,
            self._keys,
            DeadLetters.of(settings, self._client),
            quick=connect_redis(settings, timeout_s=_QUICK_S),
            client_id=self.client_id,
            remains=Remains(settings, worker=self.client_id),
            plain=DeadLetters.of(settings, self._client, buries=False),
            eviction=EvictionWatch(self._client, allowed=settings.allow_eviction),
        )
        self._flow = Flow(max_queue_length=settings.ingest_max_queue_length)
        self._batch = OpenBatch()
        # Redis may keep one waiting, and a name server may: not the loop, and not the lease behind a batch.
        self._errands = tuple(Errands(name, wake=self._wake) for name in ("redis", "mqtt connect", "lease", "group"))
        self._redis, self._connecting, self._aside, self._asking = self._errands
        self._provider = start_tracing(INGEST)
        self._receipts = self._traced()
        self._handover = Handover(self._batch, self._writer, self._flow, self._redis, self._receipts)
        self._stopping = self._finishing = self._announced = False
        self._turned_at, self._tend_at = time.monotonic(), 0.0
        self._account = Account(self._turned_at)
        routes = Subscriptions(
            router.routes,
            group=settings.mqtt_group_name,
            show_payloads=settings.shows_payloads,
            trace=None if self._receipts is None else self._receipts.none,
        )
        memory = SessionMemory(self._client, self._keys, self._asking)
        self._own = self._session(routes, memory, client_id=self.client_id)
        self._exclusive = self._session(routes, memory, client_id=f"{settings.mqtt_group_name}-exclusive")
        self._lease = GroupLease(
            self._lease_client, self._keys, group=settings.mqtt_group_name, holder=self.client_id, errands=self._aside
        )
        group = self._group = Group(self._client, self._keys, settings, client_id=self.client_id, errands=self._asking)
        self._placement = Placement(
            settings, routes, group=group, own=self._own, exclusive=self._exclusive, lease=self._lease
        )
        self._adoption: Adoption | None = None
        if name is not None:
            self._adoption = Adoption(settings, name, make_session=partial(self._session, routes, memory), group=group)
        self._has_routes = bool(router.routes)
        # Nothing after it may fail: it is open.
        self._bell = Bell()
        self._sockets = Exchange(self._batch, self._handover, self._bell)

    @property
    def statistics(self) -> Statistics:
        """What was done so far; safe from other threads."""
        lost = sum(session.filters.losses for session in self._sessions)
        lost += 0 if self._adoption is None else self._adoption.losses
        return replace(self._handover.statistics, paused_s=self._flow.paused_s, sessions_lost=lost)

    @property
    def ready(self) -> bool:
        """Whether messages are taken, by what was answered lately; safe from other threads."""
        return self._trouble() is None

    @property
    def health(self) -> Health:
        """A snapshot; safe from other threads."""
        return Health(
            alive=time.monotonic() - self._turned_at < _STUCK_S,
            trouble=self._trouble(),
            pause=self.pause,
            holds=self._lease.held and bool(self._exclusive.filters.wanted),
            statistics=self.statistics,
        )

    @property
    def pause(self) -> str | None:
        """Why no messages are taken now, None while they flow."""
        return self._flow.pause

    def stop(self) -> None:
        """End `run` soon; may be called from a signal handler or another thread."""
        self._stopping = True
        self._bell.wake()

    def run(self) -> None:
        """Work until `stop`, or until another process may have the name by which this one is known.

        Raises:
            ConfigurationError: Redis is too old, or a certificate cannot be used.
            RouteError: Two routes overlap, and the broker does not say which one a message is for.
        """
        if not self._has_routes:
            logger.warning("the application has no routes, there is nothing to subscribe to")
        self._presence.start()
        if self._history is not None:
            self._history.start()
        if self._alerts is not None:
            self._alerts.start()
        try:
            while not self._stopping and not self._is_renamed:
                self._turn()
            if self._settings.ingest_drain_on_exit and not self._is_renamed:
                self._drain()
            self._finish()
        finally:
            self._aside.ask(self._presence.stop, then=lambda _: None)
            if self._history is not None:
                self._aside.ask(self._history.stop, then=lambda _: None)
            if self._alerts is not None:
                self._alerts.stop()
            self._aside.finish(timeout_s=_GOODBYE_S)
            for errands in self._errands:
                errands.close()
            self._writer.close()
            self._client.close()
            self._lease_client.close()
            self._bell.close()
            flush(self._provider)

    def _trouble(self) -> str | None:
        now, answered_at = time.monotonic(), self._handover.answered_at
        if now - self._turned_at > _FRESH_S:
            return f"the loop has stood still for {now - self._turned_at:.0f} s"
        if self.pause is not None:
            return self.pause
        if answered_at is None or now - answered_at > _FRESH_S:
            return f"redis has not answered for more than {_FRESH_S:.0f} s"
        nameless = None if self._name is None else self._name.trouble
        if not self._has_routes:
            return nameless
        if trouble := nameless or self._placement.trouble or self._own.trouble(now):
            return trouble
        return self._exclusive.trouble(now) if self._lease.held else self._lease.trouble

    def _wake(self) -> None:
        self._bell.wake()

    def _turn(self) -> None:
        now = self._turned_at = time.monotonic()
        if now >= self._tend_at or not self._announced or self._placement.is_moving:
            self._tend(now)
        for errands in self._errands:
            errands.tend()
        self._handover.tend()
        self._exchange()

    def _tend(self, now: float) -> None:
        self._tend_at = now + _TEND_S
        if self._name is not None:
            self._name.tend()
        if self._has_routes and not self._is_renamed:
            self._placement.tend()
            if self._adoption is not None:
                self._adoption.tend(may_read=self._may_read)
            for session in (self._own, self._exclusive):
                if self._may_connect(session):
                    session.tend(reading=self._may_read(session))
        if self.ready and not self._announced:
            self._announce()
        if self._account.is_due(now):
            self._report()

    @property
    def _is_renamed(self) -> bool:
        return self._name is not None and self._name.given != self._given

    def _may_connect(self, session: Session) -> bool:
        if self._name is not None and not self._name.is_sure and session.connection is None:
            return False
        if session is not self._exclusive:
            return True
        self._lease.tend(served=session.state is State.READY or session.is_idle)
        if self._lease.held:
            return True
        if session.state is not State.AWAY:
            logger.warning("leaving the non-shared routes to the next holder client_id=%s", session.client_id)
            session.close()
        return False

    def _may_read(self, session: Session) -> bool:
        # While paused, a session must still hear what CONNECT and SUBSCRIBE are answered; the batch bounds the rest.
        if self._finishing:
            return False
        return self._flow.pause is None or (session.state is not State.READY and self._batch.has_room)

    def _exchange(self) -> None:
        connections = [
            (session.connection, self._may_read(session))
            for session in self._sessions
            if session.connection is not None and session.connection.socket() is not None
        ]
        self._sockets.turn(connections, idle_s=min(_IDLE_S, self._handover.idle_s))

    def _drain(self) -> None:
        """Leave the share group: take what the broker still has for this process, and end its session."""
        logger.info("draining client_id=%s", self.client_id)
        self._placement.leave()
        deadline = time.monotonic() + _DRAIN_S
        while not self._own.is_idle and time.monotonic() < deadline:
            self._turn()
        if not self._own.is_idle:
            logger.error(
                "NOT DRAINED, the mqtt broker keeps the session client_id=%s; start it again to take the rest",
                self.client_id,
            )

    def _finish(self) -> None:
        """Queue and acknowledge what was read, then go."""
        self._finishing = True
        deadline = time.monotonic() + _LAST_FLUSH_S
        while self._batch and self._flow.pause is None and time.monotonic() < deadline:
            self._turn()
        if self._batch:
            logger.warning("not queued, the mqtt broker keeps them and sends them again count=%d", len(self._batch))
        if self._adoption is not None:
            self._adoption.close()
        self.left_nothing = self._own.is_idle and not self._is_renamed
        if self.left_nothing:
            self._group.leave()
        for session in self._sessions:
            session.close()
        if not self._is_renamed:  # else its next holder may have it, by the same name
            self._lease.release()
        self._report()
        logger.info("ingest has ended client_id=%s", self.client_id)

    def _announce(self) -> None:
        self._announced = True
        shared = sorted(self._own.filters.granted)
        others = sorted(subscription.filter for subscription in self._exclusive.filters.wanted)
        role = "non-shared" if self._lease.held else "standing by for the non-shared"
        parts = [f"{what}: {', '.join(names)}" for what, names in (("shared", shared), (role, others)) if names]
        logger.info("%s client_id=%s %s", READY, self.client_id, "; ".join(parts) or "no subscriptions")

    def _report(self) -> None:
        paused = f" PAUSED: {self._flow.pause}" if self._flow.pause else ""
        logger.info("%s%s", self._account.line(self.statistics, time.monotonic()), paused)

    def _present(self) -> ProcessReport:
        # Called by the presence's thread, which only reads.
        health = self.health
        return ProcessReport(
            kind="ingest",
            name=self.client_id,
            version=version("routemq-celery"),
            group=self._settings.mqtt_group_name,
            problem=health.trouble,
            memory_bytes=psutil.Process().memory_info().rss,
            details=asdict(health.statistics) | {"holds": health.holds, "takes_all": self._placement.takes_all},
        )

    def _traced(self) -> "Receipts | None":
        if self._provider is None:
            return None
        from routemq_ingest.receipts import Receipts

        return Receipts(self._provider, client_id=self.client_id, group=self._settings.mqtt_group_name)

    @property
    def _sessions(self) -> tuple[Session, ...]:
        adopted = None if self._adoption is None else self._adoption.session
        return (self._own, self._exclusive) if adopted is None else (self._own, self._exclusive, adopted)

    def _session(self, routes: Subscriptions, memory: SessionMemory, *, client_id: str) -> Session:
        settings = self._settings
        reception = Reception(
            routes,
            self._batch,
            max_payload_bytes=settings.ingest_max_payload_bytes,
            show_payloads=settings.shows_payloads,
            worker=self.client_id,
            remains=Remains(settings, worker=self.client_id),
            receipts=self._receipts,
        )
        return Session(settings, client_id=client_id, reception=reception, memory=memory, errands=self._connecting)
