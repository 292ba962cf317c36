"""A whole application in the process of a test: MQTT broker, Redis, ingest and a worker, all real, on free ports.

The development broker, ingest and the worker are threads here, so that what a test puts in the place of something is
seen by controllers; Redis is a process of its own. Nothing outlives the block.
"""

import asyncio
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from paho.mqtt import client as paho
from paho.mqtt.subscribeoptions import SubscribeOptions
from pydantic import SecretStr
from routemq_dev.ports import LOOPBACK
from routemq_dev.progress import RouteProgress, read_progress, total
from routemq_tasks.app import RouteMQCelery
from routemq_tasks.own_tasks import load_own_tasks
from routemq_tasks.publication import Publication
from routemq_tasks.upstream.outgoing import own_properties, paho_properties

from routemq.connections import connect_redis
from routemq.dead_letters import DeadLetter, DeadLetters
from routemq.errors import RouteMQError
from routemq.lifecycle.moves import Moves
from routemq.message import PublishProperties
from routemq.publishable import publishable
from routemq.queues import Keys
from routemq.routing import Router
from routemq.settings import Settings
from routemq.testing.parts import (
    START_S,
    NotServingError,
    development_broker,
    ingest_thread,
    temporary_redis,
    worker_thread,
)
from routemq.testing.result import Published
from routemq.upstream.mqtt_client import mqtt_client

_CONFIRM_S = 10.0
_LOOK_S = 0.02
_FENCE = "$routemq/fence"
"""No wildcard at the head of a topic filter takes a topic that begins so (MQTT 5, 4.7.2)."""

_running = threading.Lock()
"""Celery keeps one state of a worker for each process."""


class NotIdleError(RouteMQError):
    """Messages of a `TestApp` did not come to an end in time.

    Attributes:
        progress: Of each route.
    """

    def __init__(self, *, timeout_s: float, expected: int, progress: dict[str, RouteProgress]) -> None:
        self.expected, self.progress = expected, progress
        routes = "".join(
            f"\n  {name}: received {route.received}, done {route.done}, dead {route.dead}, queued {route.queued}"
            for name, route in progress.items()
            if route.received
        )
        super().__init__(f"not idle after {timeout_s:g} s; of {expected} messages for routes:{routes or ' none came'}")


class TestApp:
    """An application that runs from the beginning of a `with` block to its end; one at a time in a process.

    Args:
        router: Its routes; see `routemq.discovery.load_router`.
        tasks: Modules with its own Celery tasks, as in `ROUTEMQ_TASKS`.

    Attributes:
        settings: Where its servers are; nothing of the environment counts.
    """

    __test__ = False  # for pytest, which takes any class of such a name for tests
    settings: Settings

    def __init__(self, router: Router, *, tasks: str = "") -> None:
        given: object = router
        if not isinstance(given, Router):
            raise TypeError(f"a TestApp takes a Router, not {given!r}; routemq.discovery.load_router finds one")
        self._router, self._tasks = router, tasks
        self._is_running = False
        self._open = ExitStack()
        self._lock = threading.Lock()
        self._published: list[Published] = []
        self._fences: set[str] = set()
        self._expected = 0

    def __enter__(self) -> Self:
        """Start all of it.

        Raises:
            NotServingError: A part does not serve.
            RuntimeError: Another one runs in this process.
        """
        if not _running.acquire(blocking=False):
            raise RuntimeError("another TestApp runs in this process; it ends with its `with` block")
        try:
            with self._open:
                self._open.callback(_running.release)
                self._start()
                self._open = self._open.pop_all()
                self._is_running = True
        except BaseException:
            self._open = ExitStack()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        """Stop all of it."""
        self._is_running = False
        self._open.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *_exc: object) -> None:
        await asyncio.to_thread(self.__exit__)

    @property
    def published(self) -> tuple[Published, ...]:
        """What the application published, in the order of its arrival; complete after `wait_idle`."""
        with self._lock:
            return tuple(self._published)

    @property
    def dead_letters(self) -> tuple[DeadLetter, ...]:
        """What has died, the oldest first."""
        self._check_running()
        return tuple(self._letters.letters(oldest_first=True))

    def publish(
        self,
        topic: str,
        payload: Any = b"",
        *,
        qos: int = 1,
        retain: bool = False,
        properties: PublishProperties | None = None,
    ) -> None:
        """Publish as a device does; return when the broker has confirmed it.

        Args:
            payload: Bytes and text as they are; a model, dict, list or number as JSON.
            properties: Of MQTT 5, such as where an answer is wanted.
        """
        self._check_running()
        told = None if properties is None else paho_properties(properties)
        sent = self._mqtt.publish(topic, publishable(topic, payload), qos=qos, retain=retain, properties=told)
        sent.wait_for_publish(_CONFIRM_S)
        if not sent.is_published():
            raise NotServingError(part="the MQTT broker")
        with self._lock:
            self._expected += self._takers(topic)

    async def publish_async(self, topic: str, payload: Any = b"", **options: Any) -> None:
        """Like `publish`."""
        await asyncio.to_thread(self.publish, topic, payload, **options)

    def wait_idle(self, timeout_s: float = 30.0, *, hasten: bool = True) -> Self:
        """Wait until every message for a route is done or dead, also what controllers have published meanwhile.

        Args:
            timeout_s: Seconds.
            hasten: Let no retry wait for its time.

        Raises:
            NotIdleError: It took longer.
        """
        self._check_running()
        deadline, settled = time.monotonic() + timeout_s, -1
        while True:
            self._fence(deadline)
            expected = self._expected
            # Between two fences nothing more was published: what had ended at the first look has told everything.
            if expected == settled:
                return self
            progress = read_progress(self._redis, self._keys, self._router)
            everything = total(progress)
            ended = everything.done + everything.dead == everything.received + everything.replayed
            settled = expected if ended and everything.received >= expected and not everything.queued else -1
            if settled < 0:
                if time.monotonic() > deadline:
                    raise NotIdleError(timeout_s=timeout_s, expected=expected, progress=progress)
                for queue in self._router.queues if hasten else ():
                    self._moves.hasten(queue)
                time.sleep(_LOOK_S)

    async def wait_idle_async(self, timeout_s: float = 30.0, *, hasten: bool = True) -> Self:
        """Like `wait_idle`."""
        return await asyncio.to_thread(self.wait_idle, timeout_s, hasten=hasten)

    def _check_running(self) -> None:
        if not self._is_running:
            raise RuntimeError("this TestApp does not run: it does within its `with` block alone")

    def _start(self) -> None:
        enter = self._open.enter_context
        folder = Path(enter(tempfile.TemporaryDirectory(prefix="routemq-test-")))
        fields: dict[str, Any] = {"mqtt_broker": LOOPBACK, "mqtt_port": enter(development_broker())}
        fields |= {"redis_url": SecretStr(enter(temporary_redis(folder))), "tasks": self._tasks}
        settings = self.settings = Settings.model_construct(**fields)
        self._redis, self._keys = enter(connect_redis(settings)), Keys()
        self._moves, self._letters = Moves(self._redis, self._keys), DeadLetters.of(settings, self._redis)
        self._app = RouteMQCelery(settings, self._router)
        load_own_tasks(self._app)
        self._open.callback(self._let_go)
        self._mqtt = enter(self._observer())
        enter(ingest_thread(settings, self._router))
        if self._app.queues:
            enter(worker_thread(self._app))

    def _let_go(self) -> None:
        """Close what a fence has opened where no worker did."""
        self._app.process.close()

    @contextmanager
    def _observer(self) -> Iterator[paho.Client]:
        """Connect a client that publishes as devices do, and sees what all others publish."""
        client = mqtt_client(self.settings, client_id=f"test-{uuid.uuid4().hex[:12]}")
        subscribed = threading.Event()
        client.on_message = lambda _client, _userdata, message: self._on_message(message)
        client.on_subscribe = lambda *_: subscribed.set()
        client.connect(self.settings.mqtt_broker, self.settings.mqtt_port)
        client.loop_start()
        try:
            options = SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True)
            client.subscribe([("#", options), (_FENCE, options)])
            if not subscribed.wait(START_S):
                raise NotServingError(part="the MQTT broker")
            yield client
        finally:
            client.disconnect()
            client.loop_stop()

    def _on_message(self, message: paho.MQTTMessage) -> None:
        with self._lock:
            if message.topic == _FENCE:
                self._fences.add(message.payload.decode())
                return
            self._published.append(
                Published(
                    topic=message.topic,
                    payload=bytes(message.payload),
                    qos=message.qos,
                    retain=message.retain,
                    properties=own_properties(message.properties),
                )
            )
            self._expected += self._takers(message.topic)

    def _fence(self, deadline: float) -> None:
        """Wait until all is seen that controllers have published so far, which went before by the same connection."""
        fence = uuid.uuid4().hex
        publisher = self._app.process.publisher
        publication = Publication(_FENCE, fence.encode(), 1, False)
        publisher.publish(publication)
        publisher.wait(publication, deadline=max(deadline, time.monotonic() + _CONFIRM_S))
        while fence not in self._fences:
            if time.monotonic() > deadline + _CONFIRM_S:
                raise NotServingError(part="the MQTT broker")
            time.sleep(_LOOK_S / 10)

    def _takers(self, topic: str) -> int:
        return sum(route.template.match(topic) is not None for route in self._router.routes)
