"""An operator at a terminal, before letters of one route."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import redis
from click.testing import CliRunner, Result

from routemq.cli import main
from routemq.dead_letters import ArchivedLetter, DeadLetter, DeadLetters, Operation
from routemq.envelope import Envelope, TaskMessage
from routemq.queues import Keys
from tests.processes import completed
from tests.servers import Redis

ROUTE, QUEUE = "sensors/{device_id}/data", "sensors.data"

ROUTERS = """
import pydantic
from routemq import Router

class Reading(pydantic.BaseModel):
    temperature: float

def store(device_id, payload: Reading):
    raise AssertionError("a check runs nothing")

router = Router()
router.on("sensors/{device_id}/data", store)
"""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """An operator at a terminal."""

    url: str
    prefix: str
    folder: Path
    client: redis.Redis
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> Keys:
        return Keys(self.prefix)

    @property
    def store(self) -> DeadLetters:
        return DeadLetters(self.client, self.keys)

    @property
    def env(self) -> dict[str, str]:
        own = {"REDIS_URL": self.url, "ROUTEMQ_KEY_PREFIX": self.prefix, "ROUTEMQ_ROUTERS": "my_routers"}
        return own | {"COLUMNS": "80", "TZ": "UTC"} | dict(self.extra)

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "routemq", "dlq", *arguments]

    def run(self, *arguments: str, exit_code: int = 0, **env: str) -> Result:
        """Run a command in this process."""
        with contextlib.chdir(self.folder):
            done = CliRunner(env=self.env | env).invoke(main, ["dlq", *arguments])
        assert done.exit_code == exit_code, f"{arguments}: exit {done.exit_code}\n{done.output}\n{done.exception!r}"
        return done

    def run_process(self, *arguments: str, exit_code: int = 0, **env: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command in a process of its own."""
        done = completed(self.argv(*arguments), env=self.env | env, cwd=self.folder)
        assert done.returncode == exit_code, f"{arguments}: exit {done.returncode}\n{done.stderr.decode()}"
        assert b"Traceback (most recent call last)" not in done.stderr
        return done

    def queued(self, queue: str = QUEUE) -> list[TaskMessage]:
        items = cast("list[bytes]", self.client.lrange(self.keys.queue(queue), 0, -1))
        return [TaskMessage.decode(item) for item in reversed(items)]

    def bury(self, *messages: TaskMessage, error: BaseException | None = None) -> None:
        error = error or ValueError("no sensor")
        self.store.bury_direct(
            [(DeadLetter.of(m, reason="failed", error=error, worker="w@host"), m.encode()) for m in messages]
        )

    def fill(self, count: int, *, age_s: float = 0.0) -> None:
        """Bury many, one second apart, the last one so old."""
        now = time.time() - age_s
        batch = []
        for number in range(count):
            message = a_message(number)
            letter = DeadLetter.of(message, reason="failed", error=ValueError("no sensor"), worker="w@host")
            batch.append(ArchivedLetter(replace(letter, died_at=now - count + number), message.encode()))
        self.store.import_batch(batch, Operation(actor="test"), file_digest="fill", lines_before=0)
        self.store.import_ended("fill")


def a_message(number: int = 0, payload: bytes | None = None, **changes: object) -> TaskMessage:
    payload = f'{{"temperature": {number}}}'.encode() if payload is None else payload
    envelope = Envelope(topic=f"sensors/d{number}/data", payload=payload, received_at=1790000000.0)
    message = TaskMessage(id=f"m{number:06}", route=ROUTE, queue=QUEUE, envelope=envelope)
    return replace(message, **changes)  # type: ignore[arg-type]


def open_desk(store: Redis, prefix: str, folder: Path) -> Iterator[Desk]:
    (folder / "my_routers.py").write_text(ROUTERS, encoding="utf-8")
    with store.client() as client:
        yield Desk(url=store.url, prefix=prefix, folder=folder, client=client)
