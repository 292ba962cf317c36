"""The loop of an ingest process: one thread, its sockets, one batch at a time."""

import contextlib
import logging
import select
import threading
import time
from collections.abc import Collection
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import cast

import psutil
import redis

from routemq.alerts.watch import alert_watch
from routemq.connections import check_redis, connect_redis
from routemq.dead_letters import DeadLetters
from routemq.metrics.presence import Presence, ProcessReport
from routemq.queues import Keys
from routemq.routing import Router
from routemq.settings import Settings
from routemq_ingest.batch import Batch
from routemq_ingest.connection import BrokerConnection
from routemq_ingest.flow import Flow
from routemq_ingest.intake import Intake
from routemq_ingest.lease import Lease
from routemq_ingest.publisher import Publisher
from routemq_ingest.session import Session, State
from routemq_ingest.statistics import Health, Statistics
from routemq_ingest.subscriptions import Subscriptions

logger = logging.getLogger(__name__)

READY = "ingest is ready"
"""Begins the log line that says that everything is subscribed."""

_IDLE_S = 0.25
"""How late a stop, a keep alive or a lease may be noticed."""
_TEND_S = 0.1
_REPORT_S = 60.0
_LAST_FLUSH_S = 10.0
_DRAIN_S = 60.0
_STUCK_S = 30.0
"""No call of the loop may take so long; every one has a shorter timeout."""
_QUIET_S = 1.0
"""A drained session is empty when nothing has come for so long."""


class IngestWorker:
    """Takes MQTT messages and queues them, until it is stopped.

    Args:
        index: Number of the process on this host; part of its client id.
    """

    def __init__(self, settings: Settings, router: Router, *, index: int = 0) -> None:
        self.client_id = f"{settings.client_id_base}-{index}"
        self.statistics = Statistics()
        self._settings = settings
        self._keys = Keys(settings.key_prefix)
        self._client = connect_redis(settings)
        self._lease_client = connect_redis(settings, timeout_s=1.0)
        self._presence = Presence(connect_redis(settings, timeout_s=2.0), self._keys, self._present)
        self._alerts = alert_watch(settings, router)
        self._publisher = Publisher(self._client, self._keys, DeadLetters.of(settings, self._client))
        self._flow = Flow(max_queue_length=settings.ingest_max_queue_length)
        self._batch = Batch()
        self._stopping = threading.Event()
        self._redis_checked = self._announced = False
        self._turned_at = time.monotonic()
        self._tend_at = self._reported_at = 0.0
        self._reported = self.statistics
        self._shared = self._session(router, client_id=self.client_id, shared=True)
        self._exclusive = self._session(router, client_id=f"{settings.mqtt_group_name}-exclusive", shared=False)
        self._lease = (
            Lease(self._lease_client, self._keys, group=settings.mqtt_group_name, holder=self.client_id)
            if self._exclusive is not None
            else None
        )

    @property
    def ready(self) -> bool:
        """Whether Redis answers, and every route is subscribed, here or by the holder of the lease."""
        if not self._redis_checked or (self._shared is not None and self._shared.state is not State.READY):
            return False
        if self._exclusive is None or self._lease is None:
            return True
        return self._lease.answered and (not self._lease.held or self._exclusive.state is State.READY)

    @property
    def health(self) -> Health:
        """A snapshot; safe from other threads."""
        return Health(
            alive=time.monotonic() - self._turned_at < _STUCK_S,
            ready=self.ready,
            pause=self.pause,
            holds=self._lease is not None and self._lease.held,
            statistics=replace(self.statistics, paused_s=self._flow.paused_s),
        )

    @property
    def pause(self) -> str | None:
        """Why no messages are taken now, None while they flow."""
        return self._flow.pause

    def stop(self) -> None:
        """End `run` soon; may be called from a signal handler or another thread."""
        self._stopping.set()

    def run(self) -> None:
        """Work until `stop`.

        Raises:
            ConfigurationError: Redis is too old, or a certificate cannot be used.
            RouteError: Two routes overlap, and the broker does not say which one a message is for.
        """
        if self._shared is None and self._exclusive is None:
            logger.warning("the application has no routes, there is nothing to subscribe to")
        self._reported_at = time.monotonic()
        self._presence.start()
        if self._alerts is not None:
            self._alerts.start()
        try:
            while not self._stopping.is_set():
                self._turn()
            if self._settings.ingest_drain_on_exit:
                self._drain()
            self._finish()
        finally:
            self._presence.stop()
            if self._alerts is not None:
                self._alerts.stop()
            self._client.close()
            self._lease_client.close()

    def _turn(self) -> None:
        now = self._turned_at = time.monotonic()
        if now >= self._tend_at or not self._announced:
            self._tend(now)
        if self._flow.pause is not None:
            if now >= self._flow.retry_at:
                self._try_again()
        elif self._batch.messages:
            self._deliver()
        self._exchange()

    def _tend(self, now: float) -> None:
        self._tend_at = now + _TEND_S
        for session in (self._shared, self._exclusive):
            if session is not None and self._may_connect(session):
                session.tend(reading=self._may_read(session))
        if self.ready and not self._announced:
            self._announce()
        if now >= self._reported_at + _REPORT_S:
            self._report()

    def _may_connect(self, session: Session) -> bool:
        if session is not self._exclusive or self._lease is None:
            return True
        self._lease.tend()
        if self._lease.held:
            return True
        if session.connection is not None:
            logger.warning("leaving the non-shared routes to the next holder client_id=%s", session.client_id)
            session.close()
        return False

    def _may_read(self, session: Session) -> bool:
        # While paused, a session must still hear what CONNECT and SUBSCRIBE are answered; the batch bounds the rest.
        return self._flow.pause is None or (session.state is not State.READY and self._batch.has_room)

    def _exchange(self) -> None:
        """Read and write what the sockets allow; wait a moment when there is nothing to do."""
        connections = self._connections()
        reading = [connection for session, connection in connections if self._may_read(session)]
        writing = [connection for _, connection in connections if connection.want_write()]
        timeout_s = _IDLE_S
        if self._flow.pause is not None:
            timeout_s = min(_IDLE_S, max(0.0, self._flow.retry_at - time.monotonic()))
        if (self._batch.messages and self._flow.pause is None) or any(connection.has_more for connection in reading):
            timeout_s = 0.0
        readable, writable, _ = select.select(reading, writing, [], timeout_s)
        for connection in writable:
            connection.loop_write()
        self._batch.stamp()
        for connection in reading:
            if self._batch.has_room and (connection.has_more or connection in readable):
                connection.read()

    def _connections(self) -> list[tuple[Session, BrokerConnection]]:
        return [
            (session, session.connection)
            for session in (self._shared, self._exclusive)
            if session is not None and session.connection is not None and session.connection.socket() is not None
        ]

    def _deliver(self) -> None:
        batch = self._batch
        try:
            lengths = self._publisher.send(batch)
        except redis.RedisError as exc:
            self._flow.failed(exc)
            return
        late = 0
        for connection, mids in batch.acks.items():
            if connection.socket() is None:
                late += len(mids)
            connection.acknowledge(mids)
        done = self.statistics
        self.statistics = replace(
            done, received=done.received + batch.messages, batches=done.batches + 1, late_acks=done.late_acks + late
        )
        batch.clear()
        self._flow.delivered(lengths)

    def _try_again(self) -> None:
        """See whether the reason of the pause is gone, by sending what waits, or else by looking at the queues."""
        try:
            if not self._redis_checked:
                check_redis(self._client)
                self._redis_checked = True
            lengths = {queue: self._client.llen(self._keys.queue(queue)) for queue in self._flow.long_queues}
        except redis.RedisError as exc:
            self._flow.failed(exc)
            return
        if self._batch.messages and not self._flow.long_queues:
            self._deliver()
        else:
            self._flow.delivered(lengths)

    def _forgotten(self, client_id: str, filters: Collection[str]) -> Collection[str]:
        """Remember a session's filters in Redis; return those it has from an earlier release of the application."""
        key = self._keys.subscriptions(client_id)
        try:
            known = {member.decode() for member in cast("set[bytes]", self._client.smembers(key))}
            stale = known - set(filters)
            if stale:
                self._client.srem(key, *stale)
            if set(filters) - known:
                self._client.sadd(key, *filters)
        except redis.RedisError as exc:
            logger.debug("subscriptions not looked up: %s", exc)
            return ()
        return stale

    def _drain(self) -> None:
        """Leave the share group: take what still comes, until nothing does."""
        session = self._shared
        if session is None:
            return
        logger.info("draining client_id=%s", self.client_id)
        session.unsubscribe_all()
        deadline, taken, quiet_since = time.monotonic() + _DRAIN_S, self.statistics.received, time.monotonic()
        while session.connection is not None and time.monotonic() < deadline:
            self._turn()
            quiet = self.statistics.received == taken and not self._batch.messages
            if not quiet or not session.unsubscribed or self._flow.pause is not None:
                taken, quiet_since = self.statistics.received, time.monotonic()
            if time.monotonic() - quiet_since >= _QUIET_S:
                session.close(end_session=True)
                with contextlib.suppress(redis.RedisError):
                    self._client.delete(self._keys.subscriptions(self.client_id))
                logger.info("drained, the session is ended client_id=%s", self.client_id)
                return
        logger.error(
            "NOT DRAINED, the mqtt broker keeps the session client_id=%s; start it again to take the rest",
            self.client_id,
        )

    def _finish(self) -> None:
        """Queue and acknowledge what was read, then go."""
        deadline = time.monotonic() + _LAST_FLUSH_S
        while self._batch.messages and time.monotonic() < deadline:
            self._deliver()
            if self._batch.messages:
                time.sleep(max(0.0, self._flow.retry_at - time.monotonic()))
        if self._batch.messages:
            logger.warning("not queued, the mqtt broker keeps them and sends them again count=%d", self._batch.messages)
        for session in (self._shared, self._exclusive):
            if session is not None:
                session.close()
        if self._lease is not None:
            self._lease.release()
        self._report()
        logger.info("ingest has ended client_id=%s", self.client_id)

    def _announce(self) -> None:
        self._announced = True
        shared = [] if self._shared is None else sorted(self._shared.granted)
        own = [] if self._exclusive is None else [each.filter for each in self._exclusive.subscriptions.all]
        held = self._lease is not None and self._lease.held
        parts = [f"shared: {', '.join(shared)}"] if shared else []
        if own:
            parts.append(f"{'non-shared' if held else 'standing by for the non-shared'}: {', '.join(sorted(own))}")
        logger.info("%s client_id=%s %s", READY, self.client_id, "; ".join(parts) or "no subscriptions")

    def _report(self) -> None:
        time_s = time.monotonic() - self._reported_at
        self._reported_at += time_s
        before, now = self._reported, replace(self.statistics, paused_s=self._flow.paused_s)
        self._reported = now
        received, batches = now.received - before.received, now.batches - before.batches
        logger.info(
            "received=%d in %.0f s (%.1f/s, %.1f per batch) total=%d late_acks=%d paused_s=%.1f%s",
            received, time_s, received / time_s, received / max(1, batches), now.received, now.late_acks, now.paused_s,
            f" PAUSED: {self._flow.pause}" if self._flow.pause else "",
        )  # fmt: skip

    def _present(self) -> ProcessReport:
        # Called by the presence's thread, which only reads.
        health = self.health
        if not health.alive:
            problem: str | None = "its loop stands still"
        else:
            problem = health.pause or (None if health.ready else "not everything is subscribed")
        return ProcessReport(
            kind="ingest",
            name=self.client_id,
            version=version("routemq-celery"),
            group=self._settings.mqtt_group_name,
            problem=problem,
            memory_bytes=psutil.Process().memory_info().rss,
            details=asdict(health.statistics) | {"holds": health.holds},
        )

    def _session(self, router: Router, *, client_id: str, shared: bool) -> Session | None:
        routes = [route for route in router.routes if route.shared == shared]
        if not routes:
            return None
        settings = self._settings
        subscriptions = Subscriptions(routes, group=settings.mqtt_group_name, show_payloads=settings.shows_payloads)
        intake = Intake(
            subscriptions,
            self._batch,
            max_payload_bytes=settings.ingest_max_payload_bytes,
            show_payloads=settings.shows_payloads,
            worker=self.client_id,
        )
        return Session(
            settings, client_id=client_id, subscriptions=subscriptions, intake=intake, forgotten=self._forgotten
        )
