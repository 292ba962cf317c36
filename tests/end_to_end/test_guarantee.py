"""The guarantee: what the MQTT broker has acknowledged is done, dead or queued, whichever process is lost."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from paho.mqtt.client import MQTTMessageInfo

from routemq.envelope import TaskMessage
from routemq.queues import Keys
from tests.mqtt_peer import Peer
from tests.processes import RunningProcess, running, wait_until
from tests.servers import Mosquitto, MqttBroker, Redis, Stack

QUEUE = "counted"
ROUTERS = """
import os

import redis

from routemq import Message, Reject, RetryPolicy, Router

store = redis.Redis.from_url(os.environ["REDIS_URL"])
prefix = os.environ["ROUTEMQ_KEY_PREFIX"]


def count(number: int, message: Message) -> None:
    if number % 10 == 3:
        raise Reject("every tenth one")
    if number % 10 == 6 and message.attempt == 1:
        raise ValueError("not at the first attempt")
    store.sadd(prefix + "done", number)


router = Router()
options = {"queue": "counted", "retry": RetryPolicy(base_delay_s=0.2)}
router.on(os.environ["TOPIC"] + "/shared/{number:int}", count, shared=True, worker_count=2, **options)
router.on(os.environ["TOPIC"] + "/alone/{number:int}", count, **options)
"""


@dataclass(kw_only=True)
class Fleet:
    """Devices that publish numbers with QoS 1, every second one to the route that is not shared.

    Attributes:
        limit: So many are published; raised while it goes on, so that a slow machine has no backlog at the end.
    """

    broker: MqttBroker
    topic: str
    limit: int = 0
    sent: dict[int, MQTTMessageInfo] = field(default_factory=dict)

    @property
    def acknowledged(self) -> set[int]:
        """The numbers that the MQTT broker has taken over."""
        return {number for number, info in list(self.sent.items()) if info.is_published()}

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Publish about 250 messages a second in the block; at its end every one of them is acknowledged."""
        stopping = threading.Event()
        peer = Peer(self.broker.port).connect()

        def publish() -> None:
            while not stopping.wait(0.02):
                for number in range(len(self.sent), min(len(self.sent) + 5, self.limit)):
                    kind = "alone" if number % 2 else "shared"
                    self.sent[number] = peer.client.publish(f"{self.topic}/{kind}/{number}", b"{}", 1)

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            yield
            wait_until(lambda: len(self.sent) == self.limit, message="everything is published")
        finally:
            stopping.set()
            thread.join()
        wait_until(lambda: len(self.acknowledged) == len(self.sent), message="the MQTT broker has everything")
        peer.close()


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The product's processes over one stack, each of which can be killed and started again."""

    project: Path
    stack: Stack
    env: dict[str, str]

    @property
    def keys(self) -> Keys:
        return Keys(self.env["ROUTEMQ_KEY_PREFIX"])

    @contextlib.contextmanager
    def ingest(self) -> Iterator[RunningProcess]:
        with running(["routemq", "ingest"], cwd=self.project, env=self.env) as process:
            process.wait_for_output("ready")
            yield process

    @contextlib.contextmanager
    def worker(self) -> Iterator[RunningProcess]:
        with running(["celery", "-A", "routemq", "worker", "-Q", QUEUE], cwd=self.project, env=self.env) as process:
            process.wait_for_output(" ready.")
            yield process

    def done(self) -> set[int]:
        with self.stack.store.client() as client:
            return {int(number) for number in client.smembers(f"{self.keys.prefix}done")}

    def dead(self) -> set[int]:
        with self.stack.store.client() as client:
            return {self._number(raw) for raw in client.hvals(self.keys.dead_raw)}

    def queued(self) -> tuple[set[int], set[int], set[int]]:
        """What waits, what waits for another run, and what a worker holds, in the order in which a message moves."""
        with self.stack.store.client() as client:
            waiting = client.lrange(self.keys.queue(QUEUE), 0, -1)
            delayed = client.zrange(self.keys.delayed(QUEUE), 0, -1)
            held = [orjson.dumps(orjson.loads(record)[0]) for record in client.hvals(self.keys.unacked)]
        waiting_now, delayed_now, held_now = ({self._number(raw) for raw in part} for part in (waiting, delayed, held))
        return waiting_now, delayed_now, held_now

    @staticmethod
    def _number(raw: bytes) -> int:
        return int(TaskMessage.decode(raw).envelope.topic.rpartition("/")[2])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    (tmp_path / "app" / "routers.py").write_text(ROUTERS, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("victim", ["ingest", "worker", "redis"])
def test_whatever_is_killed_under_load_nothing_acknowledged_is_lost(
    victim: str,
    project: Path,
    mosquitto_server: Mosquitto,
    own_store: Callable[..., Redis],
    key_prefix: str,
    topic_prefix: str,
    group_name: str,
) -> None:
    # What is synced at every write survives the loss of Redis; the other two cases need no disk.
    store = own_store("redis", append_only=victim == "redis", fsync="always")
    stack = Stack(name="mosquitto+redis", broker=mosquitto_server, store=store)
    env = stack.environment(key_prefix=key_prefix, group=group_name)
    env |= {"TOPIC": topic_prefix, "ROUTEMQ_VISIBILITY_TIMEOUT_S": "10"}
    deployment = Deployment(project=project, stack=stack, env=env)
    fleet = Fleet(broker=mosquitto_server, topic=topic_prefix)
    with contextlib.ExitStack() as processes:
        ingest = processes.enter_context(deployment.ingest())
        worker = processes.enter_context(deployment.worker())
        with fleet.publishing():
            for _ in range(2):
                before = len(deployment.done())
                fleet.limit += 300
                wait_until(lambda before=before: len(deployment.done()) > before + 50, message="the load is on")
                if victim == "ingest":
                    ingest.kill_all()
                    ingest = processes.enter_context(deployment.ingest())
                elif victim == "worker":
                    worker.kill_all()
                    worker = processes.enter_context(deployment.worker())
                else:
                    store.kill()
                    store.start()
        acknowledged = fleet.acknowledged
        assert acknowledged == set(range(600))

        def ended() -> bool:
            left = acknowledged - deployment.done() - deployment.dead()
            waiting, delayed, held = deployment.queued()
            lost = left - waiting - delayed - held - deployment.done() - deployment.dead()
            progress.append(
                f"of {len(acknowledged)} acknowledged {len(left)} have not ended: waiting {len(waiting)}, "
                f"delayed {len(delayed)}, held {len(held)}, nowhere {sorted(lost)[:20]}"
            )
            return not left

        progress: deque[str] = deque(maxlen=1)
        try:
            wait_until(ended, message="every message is done or dead")
        finally:
            print(*progress)
        assert ingest.is_alive
        assert worker.is_alive
    assert deployment.dead() >= {number for number in acknowledged if number % 10 == 3}
    if victim != "redis":  # a controller that needs Redis itself may fail three times while it is away
        assert deployment.done() == {number for number in acknowledged if number % 10 != 3}
