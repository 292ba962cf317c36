"""A Flower with dead letters to show."""

import contextlib
import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from routemq.dead_letters import ArchivedLetter, DeadLetter, DeadLetters, LetterFilter, Operation
from routemq.envelope import Envelope, FailedAttempt, TaskMessage, unacked_record
from routemq.lifecycle.moves import Moves
from routemq.queues import Keys
from tests.processes import PATIENCE_S, RunningProcess, running
from tests.servers import HOST, REPOSITORY, Redis, free_port

READINGS, WAITING, LASTING, CROWDED, OTHER = (
    f"{name}/{{device_id}}" for name in ("readings", "waiting", "lasting", "crowded", "other")
)
"""The routes of tests/applications/flower.py."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Dead letters of one key prefix, and a Flower that shows them."""

    store: Redis
    key_prefix: str
    url: str
    process: RunningProcess

    @property
    def keys(self) -> Keys:
        return Keys(self.key_prefix)

    def bury(
        self,
        topic: str,
        payload: bytes = b"{}",
        *,
        route: str = WAITING,
        error: Exception | None = None,
        generation: int = 0,
        content_type: str | None = None,
    ) -> str:
        envelope = Envelope(topic=topic, payload=payload, content_type=content_type)
        task = TaskMessage(route=route, queue=route.partition("/")[0], envelope=envelope, generation=generation)
        cause = error or LookupError("no such device")
        letter = DeadLetter.of(task, reason="failed", error=cause, worker="celery@somewhere")
        with self.store.client() as client:
            DeadLetters(client, self.keys).bury_direct([(letter, task.encode())])
        return letter.id

    def bury_long_ago(self, topic: str, *, age_s: float) -> None:
        task = TaskMessage(route=WAITING, queue="waiting", envelope=Envelope(topic=topic, payload=b"{}"))
        letter = DeadLetter.of(task, reason="failed", error=LookupError("no such device"), worker="w")
        archived = ArchivedLetter(replace(letter, died_at=time.time() - age_s), task.encode())
        with self.store.client() as client:
            store = DeadLetters(client, self.keys)
            store.import_batch([archived], Operation(actor="test"), file_digest="old", lines_before=0)

    def bury_malformed(self, data: bytes) -> str:
        letter = DeadLetter.bare(
            route=WAITING, queue="waiting", message_id=None, error=ValueError("no message"), worker="w"
        )
        with self.store.client() as client:
            DeadLetters(client, self.keys).bury_direct([(letter, data)])
        return letter.id

    def discard(self, *letters: str) -> None:
        """Take letters away, as another person would."""
        with self.store.client() as client:
            DeadLetters(client, self.keys).discard(letters, actor="someone else")

    def letters(self, route: str) -> int:
        """Return how many letters a route has."""
        with self.store.client() as client:
            return DeadLetters(client, self.keys).count(LetterFilter(route=route))

    def queued(self, queue: str) -> list[str]:
        """Return the topics on a queue, those that run first first."""
        with self.store.client() as client:
            items = client.lrange(self.keys.queue(queue), 0, -1)
        return [TaskMessage.decode(item).envelope.topic for item in reversed(items)]

    def take(self, queue: str) -> list[TaskMessage]:
        """Take all of a queue into a worker's hands."""
        with self.store.client() as client:
            items = client.lrange(self.keys.queue(queue), 0, -1)
            client.delete(self.keys.queue(queue))
        taken = [TaskMessage.decode(item) for item in reversed(items)]
        self.hold(*taken)
        return taken

    def hold(self, *messages: TaskMessage) -> None:
        """Take messages into a worker's hands, from wherever they are."""
        with self.store.client() as client:
            for message in messages:
                client.hset(self.keys.unacked, message.delivery_tag, unacked_record(message.encode(), message.queue))

    def finish(self, *messages: TaskMessage) -> None:
        """Be done with what was taken."""
        with self.store.client() as client:
            Moves(client, self.keys).acknowledge({WAITING: [message.delivery_tag for message in messages]})

    def fail(self, *messages: TaskMessage, for_good: bool) -> None:
        """Fail with what was taken, for another run or for good."""
        with self.store.client() as client:
            store, moves = DeadLetters(client, self.keys), Moves(client, self.keys)
            for message in messages:
                letter = DeadLetter.of(message, reason="failed", error=ValueError("again"), worker="w")
                if for_good:
                    assert store.bury(letter, delivery_tag=message.delivery_tag)
                else:
                    item = message.failed(FailedAttempt(at=1.0, error="ValueError", worker="w")).encode()
                    tag = message.delivery_tag
                    assert moves.retry_later(item, tag=tag, queue=message.queue, route=message.route, delay_s=600)

    def put(self, topic: str, payload: bytes) -> None:
        with self.store.client() as client:
            task = TaskMessage(route=READINGS, queue="readings", envelope=Envelope(topic=topic, payload=payload))
            client.lpush(self.keys.queue("readings"), task.encode())

    def kept(self) -> list[str]:
        with self.store.client() as client:
            return [note.decode() for note in client.lrange(f"{self.key_prefix}kept", 0, -1)]

    def audit(self) -> list[tuple[str, str, int]]:
        with self.store.client() as client:
            return [(entry.who, entry.action, entry.count) for entry in DeadLetters(client, self.keys).audit()]


@contextlib.contextmanager
def serving(
    store: Redis, *options: str, env: dict[str, str] | None = None, key_prefix: str | None = None, prefix: str = ""
) -> Iterator[Place]:
    """Run `celery -A routemq flower` until the block ends."""
    key_prefix = key_prefix or f"k{uuid.uuid4().hex[:10]}:"
    port = free_port()
    environment = settings(store, key_prefix) | {"FLOWER_PORT": str(port), **(env or {})}
    with running(
        ["celery", "-A", "routemq", "flower", *options], cwd=REPOSITORY, env=environment, fork=True
    ) as process:
        process.wait_for_output("Visit me ")
        yield Place(store=store, key_prefix=key_prefix, url=f"http://{HOST}:{port}{prefix}", process=process)


def settings(store: Redis, key_prefix: str) -> dict[str, str]:
    return {
        "REDIS_URL": store.url,
        "ROUTEMQ_KEY_PREFIX": key_prefix,
        "ROUTEMQ_ROUTERS": "tests.applications.flower",
        "PYTHONPATH": str(REPOSITORY),
    }


def request(
    url: str, *, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, json.loads(exc.read() or b"{}")
