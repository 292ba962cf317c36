"""Celery workers with our transport or Celery's own, on one Redis with one key prefix."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from kombu import Connection
from routemq_transport.transport import Transport

from tests.processes import RunningProcess, running, wait_until
from tests.servers import REPOSITORY, Redis

APPLICATION = "tests.applications.transport"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One line of what the tasks wrote."""

    event: str
    what: Any
    at: float
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where workers and tests meet.

    Attributes:
        runs_path: What the tasks write.
        options: Transport options of our workers.
        url: The broker's, unless it is the store's own.
    """

    store: Redis
    key_prefix: str
    runs_path: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    url: str | None = None

    def environment(self, *, transport: str = "ours", **options: Any) -> dict[str, str]:
        return {
            "TRANSPORT": transport,
            "BROKER": self.url or self.store.url,
            "BROKER_OPTIONS": json.dumps({"global_keyprefix": self.key_prefix, **self.options, **options}),
            "RUNS": str(self.runs_path),
            "PYTHONPATH": str(REPOSITORY),
        }

    @contextlib.contextmanager
    def worker(
        self,
        *arguments: str,
        transport: str = "ours",
        queues: str = "first,second",
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Iterator[RunningProcess]:
        """Run a worker until the block ends."""
        command = [sys.executable, "-m", "celery", "-A", APPLICATION, "worker", "-l", "INFO", "-Q", queues]
        command += ["--without-mingle", "--without-gossip", "-n", f"{os.urandom(4).hex()}@test", *arguments]
        environment = self.environment(transport=transport, **options) | dict(env or {})
        with running(command, cwd=REPOSITORY, env=environment, fork=True) as process:
            process.wait_for_output("ready.")
            yield process

    def client(self) -> "redis.Redis":
        return self.store.client()

    @contextlib.contextmanager
    def connection(self, **options: Any) -> Iterator[Connection]:
        """A kombu connection with our transport, without a worker."""
        with Connection(
            self.url or self.store.url,
            transport=Transport,
            transport_options={"global_keyprefix": self.key_prefix, **self.options, **options},
        ) as connection:
            yield connection

    def put(self, *whats: Any, queue: str = "first", task: str = "run", seconds: float = 0.0) -> None:
        """Queue messages by a bare LPUSH, as ingest does."""
        items = [self.item(what, queue=queue, task=task, seconds=seconds) for what in whats]
        with self.client() as client:
            client.lpush(self.key_prefix + queue, *items)

    def item(self, what: Any, *, queue: str = "first", task: str = "run", seconds: float = 0.0) -> bytes:
        """Return a Celery message, in the bytes that kombu would put on a list."""
        arguments = [what, seconds] if seconds else [what]
        body = json.dumps([arguments, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
        message_id = os.urandom(16).hex()
        headers = {"lang": "py", "task": task, "id": message_id, "root_id": message_id, "retries": 0, "eta": None}
        properties = {
            "correlation_id": message_id,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "delivery_tag": os.urandom(16).hex(),
            "delivery_mode": 2,
            "priority": 0,
            "body_encoding": "utf-8",
        }
        message = {
            "body": body,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers | {"argsrepr": "", "kwargsrepr": ""},
            "properties": properties,
        }
        return json.dumps(message).encode()

    def release(self) -> None:
        """Let the tasks `wait` end, those that run and those to come."""
        Path(f"{self.runs_path}.released").touch()

    def runs(self, event: str = "done") -> list[Run]:
        """Return what ran, in order."""
        if not self.runs_path.exists():
            return []
        lines = [json.loads(line) for line in self.runs_path.read_text("utf-8").splitlines()]
        return [Run(event=kind, what=what, at=at, pid=pid) for kind, what, at, pid in lines if kind == event]

    def names(self, event: str = "done") -> list[Any]:
        """Return the names of what ran, sorted."""
        return sorted((run.what for run in self.runs(event)), key=str)

    def wait_for(self, names: Sequence[Any], *, event: str = "done") -> None:
        """Wait until all of these have run, each at least once."""
        wanted = set(names)

        def all_ran() -> bool:
            return wanted <= set(self.names(event))

        wait_until(all_ran, message=f"{len(wanted)} messages are {event}")

    def held(self) -> int:
        """Return how many messages workers hold."""
        with self.client() as client:
            return int(client.hlen(f"{self.key_prefix}unacked"))  # type: ignore[arg-type]

    def waiting(self, queue: str = "first") -> int:
        with self.client() as client:
            return int(client.llen(self.key_prefix + queue))  # type: ignore[arg-type]

    def wait_until_nothing_is_held(self) -> None:
        """Every acknowledgement has arrived, and hash and index agree."""

        def empty() -> bool:
            with self.client() as client:
                return not client.exists(f"{self.key_prefix}unacked", f"{self.key_prefix}unacked_index")

        wait_until(empty, message="nothing is unacked")


def bench_of(make: Callable[..., Redis], path: Path, key_prefix: str, **options: Any) -> Bench:
    """Return a bench on a Redis of the test's own."""
    return Bench(store=make(**options), key_prefix=key_prefix, runs_path=path / "runs.jsonl")
