"""Celery workers of the test application, and what becomes of the messages put on their queues."""

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from celery import Celery
from celery.utils.nodenames import default_nodename

from routemq.discovery import load_router
from routemq.envelope import Envelope, TaskMessage
from routemq.metrics.totals import RouteTotals, read_totals
from routemq.queues import Keys
from routemq.routing import Router
from tests.processes import PATIENCE_S, RunningProcess, clean_environment, running, wait_until
from tests.servers import REPOSITORY, Redis

APPLICATION = "tests.applications.execution"
POOLS = ("prefork", "threads", "solo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter, as it lies in Redis."""

    id: str
    description: dict[str, Any]
    raw: bytes

    @property
    def reason(self) -> str:
        return str(self.description["reason"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One Redis with one key prefix, and a test application."""

    store: Redis
    key_prefix: str
    application: str = APPLICATION
    router: Router = field(default_factory=lambda: load_router(APPLICATION))

    @property
    def keys(self) -> Keys:
        return Keys(self.key_prefix)

    @contextlib.contextmanager
    def worker(
        self, *arguments: str, env: Mapping[str, str] | None = None, ready: bool = True
    ) -> Iterator[RunningProcess]:
        """Run `celery -A routemq worker …` until the block ends."""
        command = ["celery", "-A", "routemq", "worker", "--without-mingle", "--without-gossip", *arguments]
        with running(command, cwd=REPOSITORY, env=self.environment() | dict(env or {}), fork=True) as process:
            if ready:
                process.wait_for_output("ready.")
            yield process

    def celery(self, *arguments: str, options: Sequence[str] = (), **env: str) -> subprocess.CompletedProcess[str]:
        """Run `celery -A routemq [options] <arguments>` to its end."""
        return subprocess.run(
            ["celery", "-A", "routemq", *options, *arguments],
            cwd=REPOSITORY, env=clean_environment(self.environment() | env),
            capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip

    def ask(self, command: str, **arguments: Any) -> Any:
        """Ask the worker, as `celery inspect` and `celery control` do, and return what it says.

        It is asked by its name, so that its answer is waited for as long as a busy machine takes, and nobody else's.
        """
        name = default_nodename(None)
        with Celery(broker=self.store.url, set_as_current=False) as operator:
            operator.conf.broker_transport_options = {"global_keyprefix": self.key_prefix}
            (answer,) = operator.control.broadcast(
                command, arguments=arguments, destination=[name], reply=True, timeout=PATIENCE_S
            )
        return answer[name]

    def environment(self) -> dict[str, str]:
        return {
            "REDIS_URL": self.store.url,
            "ROUTEMQ_KEY_PREFIX": self.key_prefix,
            "ROUTEMQ_ROUTERS": self.application,
            "PYTHONPATH": str(REPOSITORY),
        }

    def put(self, topic: str, payload: bytes | str = b"null", **fields: Any) -> TaskMessage:
        """Queue a message, as ingest would."""
        message = self.message(topic, payload, **fields)
        self.put_raw(message.queue, message.encode())
        return message

    def message(
        self, topic: str, payload: bytes | str = b"null", *, received_at: float = 0.0, **fields: Any
    ) -> TaskMessage:
        """Return a message of a topic's route."""
        (route,) = [route for route in self.router.routes if route.template.match(topic) is not None]
        data = payload.encode() if isinstance(payload, str) else payload
        return TaskMessage(
            route=route.name,
            queue=route.queue,
            envelope=Envelope(topic=topic, payload=data, received_at=received_at),
            **fields,
        )

    def put_many(self, topics: Sequence[str], payload: str = "null") -> list[str]:
        """Queue one message for each topic, all at once, and return their ids."""
        messages = [self.message(topic, payload) for topic in topics]
        with self.store.client() as client, client.pipeline(transaction=True) as pipe:
            for message in messages:
                pipe.lpush(self.keys.queue(message.queue), message.encode())
            pipe.execute()
        return [message.id for message in messages]

    def release(self) -> None:
        """Let what runs as `slow/held` end, and what is still to come."""
        with self.store.client() as client:
            client.set(f"{self.key_prefix}released", 1)

    def put_raw(self, queue: str, item: bytes) -> None:
        with self.store.client() as client:
            client.lpush(self.keys.queue(queue), item)

    def notes(self, what: str) -> list[dict[str, Any]]:
        with self.store.client() as client:
            items = client.lrange(f"{self.key_prefix}notes", 0, -1)
        return [found for found in map(json.loads, items) if found["what"] == what]

    def letters(self) -> dict[str, Letter]:
        """Return all dead letters by task id."""
        with self.store.client() as client:
            entries: dict[bytes, bytes] = client.hgetall(self.keys.dead_entries)
            raw: dict[bytes, bytes] = client.hgetall(self.keys.dead_raw)
        return {
            name.decode().rpartition(":")[0]: Letter(id=name.decode(), description=_body(text), raw=raw[name])
            for name, text in entries.items()
        }

    def wait_for_letters(self, count: int) -> dict[str, Letter]:
        def found() -> dict[str, Letter] | None:
            letters = self.letters()
            return letters if len(letters) >= count else None

        return wait_until(found, message=f"{count} messages are dead")

    def wait_for_notes(self, what: str, count: int) -> list[dict[str, Any]]:
        def found() -> list[dict[str, Any]] | None:
            notes = self.notes(what)
            return notes if len(notes) >= count else None

        return wait_until(found, message=f"{count} notes {what!r}")

    def totals(self) -> dict[str, RouteTotals]:
        with self.store.client() as client:
            return read_totals(client, self.keys)

    def waiting(self, queue: str) -> int:
        with self.store.client() as client:
            return int(client.llen(self.keys.queue(queue)))

    def held(self) -> int:
        """Return how many messages workers hold."""
        with self.store.client() as client:
            return int(client.hlen(self.keys.unacked))


def _body(description: bytes) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(description[description.index(b"{") :])
    return found
