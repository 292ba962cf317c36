"""What a `TestApp` is made of: each part runs from the beginning of a `with` block to its end."""

import asyncio
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from celery.app.trace import reset_worker_optimizations
from celery.exceptions import SecurityWarning
from celery.worker import state as worker_state
from routemq_dev.broker.server import Server
from routemq_dev.ports import LOOPBACK, free_port
from routemq_dev.servers import REDIS_SERVER, redis_server
from routemq_ingest.worker import IngestWorker
from routemq_tasks.app import RouteMQCelery
from routemq_tasks.route_worker import RouteWorker

from routemq.errors import RouteMQError
from routemq.routing import Router
from routemq.settings import Settings
from routemq.supervision.processes import Supervisor

START_S = 60.0
_STOP_S = 30.0
_LOOK_S = 0.02


class NotServingError(RouteMQError):
    """A part of a `TestApp` does not start, or has failed.

    Attributes:
        problem: Why, as far as that is known here.
    """

    def __init__(self, *, part: str, problem: str = "the log says more") -> None:
        self.part, self.problem = part, problem
        super().__init__(f"{part} of the TestApp does not serve: {problem}")


class ThreadedWorker(RouteWorker):
    """Celery's worker in a thread of a process that is not its own: it leaves log, signals and title alone."""

    def __init__(self, **options: Any) -> None:
        self.serves = threading.Event()
        super().__init__(**options)

    def setup_logging(self, colorize: bool | None = None) -> bool:
        """Leave the log to the tests."""
        return True

    def install_platform_tweaks(self, worker: Any) -> None:
        """Leave the signals to the tests."""

    def set_process_status(self, info: str) -> None:
        """Leave the title to the tests."""

    def on_consumer_ready(self, consumer: Any) -> None:
        """Say that it serves."""
        super().on_consumer_ready(consumer)
        self.serves.set()


@contextmanager
def development_broker() -> Iterator[int]:
    """Run the development broker on an event loop in a thread, and yield its port."""
    loop, server = asyncio.new_event_loop(), Server()
    try:
        with _thread("routemq-test-broker", loop.run_forever, lambda: loop.call_soon_threadsafe(loop.stop)):
            try:
                yield asyncio.run_coroutine_threadsafe(server.start(LOOPBACK, 0), loop).result(START_S)[1]
            finally:
                asyncio.run_coroutine_threadsafe(server.stop(), loop).result(_STOP_S)
    finally:
        if not loop.is_running():
            loop.close()


@contextmanager
def temporary_redis(folder: Path) -> Iterator[str]:
    """Run a Redis, or Valkey, and yield its address."""
    with Supervisor(on_line=lambda _name, _line: None) as supervisor:
        # Another program may take the port first.
        for _ in range(3):
            port = free_port()
            _, command = redis_server(folder, port)
            supervisor.start(command)
            if not supervisor.wait_ready([REDIS_SERVER], timeout_s=START_S / 3):
                break
            supervisor.stop(REDIS_SERVER)
        else:
            raise NotServingError(part="Redis")
        yield f"redis://{LOOPBACK}:{port}/0"


@contextmanager
def ingest_thread(settings: Settings, router: Router) -> Iterator[None]:
    """Run ingest in a thread; it is subscribed when the block begins."""
    worker = IngestWorker(settings, router)
    with _thread("routemq-test-ingest", worker.run, worker.stop) as thread:
        _wait_until(lambda: worker.ready, thread, part="ingest")
        yield


@contextmanager
def worker_thread(app: RouteMQCelery) -> Iterator[None]:
    """Run a worker for all queues in a thread; it serves when the block begins."""
    with warnings.catch_warnings():
        # Who tests as root is not to be told that a worker should not run so.
        warnings.simplefilter("ignore", SecurityWarning)
        try:
            worker = ThreadedWorker(
                app=app, pool="threads", hostname=f"test-{uuid.uuid4().hex[:12]}@localhost", quiet=True,
                without_mingle=True, without_gossip=True, without_heartbeat=True,
            )  # fmt: skip
        except click.ClickException as exc:
            raise NotServingError(part="the worker", problem=exc.message) from exc

    def stop() -> None:
        worker_state.should_stop = 0

    try:
        with _thread("routemq-test-worker", worker.start, stop) as thread:
            _wait_until(worker.serves.is_set, thread, part="the worker")
            yield
    finally:
        worker_state.should_stop = None
        reset_worker_optimizations(app)


@contextmanager
def _thread(name: str, run: Callable[[], Any], stop: Callable[[], Any]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop()
        thread.join(_STOP_S)
        if thread.is_alive():
            raise NotServingError(part=f"the thread {name}, which does not end,")


def _wait_until(serves: Callable[[], bool], thread: threading.Thread, *, part: str) -> None:
    deadline = time.monotonic() + START_S
    while not serves():
        if not thread.is_alive() or time.monotonic() > deadline:
            raise NotServingError(part=part)
        time.sleep(_LOOK_S)
