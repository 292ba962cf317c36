"""Workers that are killed at a named step, and where their messages are afterwards."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from routemq.dead_letters import DeadLetters
from routemq.envelope import Envelope, TaskMessage
from routemq.metrics.totals import read_totals
from routemq.queues import Keys
from tests.processes import PATIENCE_S, running, wait_until
from tests.redis_proxy import Moment, RedisProxy, Step
from tests.servers import REPOSITORY, Redis

QUEUE = "crash"
KINDS = ("ok", "ok", "retry", "dead")

# The hardest one first: Redis has done it, and the worker never heard of it.
MOMENTS: tuple[Moment, ...] = ("unanswered", "before", "answered")

STEPS: dict[str, list[tuple[str, Moment]]] = {
    "routemq": [(script, moment) for moment in MOMENTS for script in ("fetch", "acknowledge", "retry_later", "bury")],
    # Celery's own transport pops with one command and records what it popped with another.
    "stock": [("BRPOP", "unanswered"), ("BRPOP", "answered")],
}


@dataclass(slots=True)
class Findings:
    """What many crashes did.

    Attributes:
        put: Ids of all messages.
        lost: Ids of messages that are nowhere and were not done.
        twice: Ids of messages that are in two places.
        miscounted: How many of the looks found another total of messages done than there were.
    """

    crashes: int = 0
    put: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    twice: set[str] = field(default_factory=set)
    miscounted: int = 0
    steps: dict[str, int] = field(default_factory=dict)

    @property
    def messages(self) -> int:
        return len(self.put)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashBench:
    """One Redis with one key prefix, a worker before it that is killed again and again."""

    store: Redis
    key_prefix: str
    transport: str = "routemq"

    def run(self, crashes: int, *, seed: int = 0) -> Iterator[Findings]:
        """Crash this often, each step in turn; gives the findings after each crash."""
        chance = random.Random(seed)
        steps = STEPS[self.transport]
        findings = Findings()
        for number in range(crashes):
            command, moment = steps[number % len(steps)]
            findings.put |= self._put(40)
            if self._crash(Step(command=command, moment=moment, occurrence=chance.randint(1, 3))):
                findings.crashes += 1
                findings.steps[f"{command} {moment}"] = findings.steps.get(f"{command} {moment}", 0) + 1
            self._look(findings)
            self._let_leases_run_out()
            yield findings

    def drain(self, findings: Findings) -> None:
        """Let a worker that is not killed do the rest of what `run` has put, then look once more."""
        keys = Keys(self.key_prefix)
        with (
            self.store.client() as client,
            running(self._command(), cwd=REPOSITORY, env=self._environment(None), fork=True),
        ):
            wait_until(
                lambda: not client.exists(keys.queue(QUEUE), keys.delayed(QUEUE), keys.unacked),
                message="nothing is left",
            )
        self._look(findings)

    def _put(self, count: int) -> set[str]:
        messages = [
            TaskMessage(
                route=f"crash/{{n}}/{kind}",
                queue=QUEUE,
                envelope=Envelope(topic=f"crash/{number}/{kind}", payload=b"null"),
            )
            for number in range(count)
            for kind in (KINDS[number % len(KINDS)],)
        ]
        with self.store.client() as client:
            client.lpush(self.key_prefix + QUEUE, *[message.encode() for message in messages])
        return {message.id for message in messages}

    def _crash(self, step: Step) -> bool:
        proxy = RedisProxy(self.store.host, self.store.port)
        try:
            with running(self._command(), cwd=REPOSITORY, env=self._environment(proxy.port), fork=True) as worker:
                proxy.arm(step, worker.popen.kill)
                proxy.struck.wait(PATIENCE_S)
                worker.kill()
            return proxy.struck.is_set()
        finally:
            proxy.close()
            # What it had sent may still be waiting to be run.
            with self.store.client() as client:
                wait_until(
                    lambda: proxy.addresses.isdisjoint(each["addr"] for each in client.client_list()),
                    message="Redis is done with the worker",
                )

    def _command(self) -> list[str]:
        return ["celery", "-A", "routemq", "worker", "-P", "solo", "--without-mingle", "--without-gossip", "-Q", QUEUE]

    def _environment(self, port: int | None) -> dict[str, str]:
        return {
            "REDIS_URL": f"redis://127.0.0.1:{self.store.port if port is None else port}/0",
            "NOTES_URL": self.store.url,
            "ROUTEMQ_KEY_PREFIX": self.key_prefix,
            "ROUTEMQ_ROUTERS": "tests.applications.crashes",
            "ROUTEMQ_TRANSPORT": self.transport,
            "PYTHONPATH": str(REPOSITORY),
        }

    def _look(self, findings: Findings) -> None:
        keys, put = Keys(self.key_prefix), findings.put
        with self.store.client() as client:
            with client.pipeline(transaction=True) as pipe:
                pipe.lrange(keys.queue(QUEUE), 0, -1)
                pipe.zrange(keys.delayed(QUEUE), 0, -1)
                pipe.hgetall(keys.unacked)
                pipe.smembers(f"{self.key_prefix}notes")
                queued, delayed, unacked, notes = pipe.execute()
            totals = read_totals(client, keys)
            dead = [letter.task_id for letter in DeadLetters(client, keys).letters()]
        held = [orjson.dumps(orjson.loads(record)[0]) for record in unacked.values()]
        there: list[str] = [*map(_id_of, [*queued, *delayed, *held]), *dead]
        findings.twice |= {each for each in there if there.count(each) > 1}
        findings.miscounted += sum(each.done for each in totals.values()) != len(put - set(there))
        findings.lost |= put - set(there) - {note.decode() for note in notes}

    def _let_leases_run_out(self) -> None:
        keys = Keys(self.key_prefix)
        with self.store.client() as client:
            held: Any = client.zrange(keys.unacked_index, 0, -1)
            if held:
                client.zadd(keys.unacked_index, dict.fromkeys(held, 1.0))


def _id_of(item: bytes) -> str:
    return str(orjson.loads(item)["headers"]["id"])
