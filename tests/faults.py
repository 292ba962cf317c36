"""Faults at random moments under a constant load, and what became of every message that was acknowledged."""

import contextlib
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil
import redis

from routemq.dead_letters import DeadLetters
from routemq.envelope import TaskMessage
from routemq.queues import Keys
from tests.fault_load import TOPIC, Load
from tests.fault_programs import Program
from tests.servers import HOST, REPOSITORY, Mosquitto, Redis, Server

QUEUE = "faults"
VISIBILITY_TIMEOUT_S = 10

REASONS = {"fail_always": "failed", "reject": "rejected", "expect_int": "invalid", "kill_worker": "poison"}
"""Why the messages of a kind die; those of the others are done."""


@dataclass(slots=True)
class Account:
    """What became of the messages.

    Attributes:
        faults: How often each fault struck.
        left: Messages that are still on their way, and where.
        lost: Numbers that were acknowledged and are nowhere.
        wrongly_dead: Numbers that are dead for another reason than theirs, and which.
        twice: Runs that were done once more than was needed.
        standstill_s: Longest time without a message that was done, under load.
    """

    published: int = 0
    acknowledged: int = 0
    done: int = 0
    dead: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    lost: list[int] = field(default_factory=list)
    wrongly_dead: dict[int, str] = field(default_factory=dict)
    twice: int = 0
    standstill_s: float = 0.0
    settled_s: float = 0.0

    @property
    def is_well(self) -> bool:
        return not (self.lost or self.wrongly_dead)


class FaultRun:
    """A whole system under load, to which something happens every few seconds.

    Args:
        pools: Celery's pool of each worker.
        transport: Of Celery's messages, ours or Celery's own.
        kill_broker: Let the MQTT broker be killed too; what it then forgets is reported as lost.
        say: Told what happens.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        rate: float = 200.0,
        pools: Sequence[str] = ("prefork", "prefork"),
        every_s: tuple[float, float] = (0.5, 4.0),
        transport: str = "routemq",
        kill_broker: bool = False,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.account = Account()
        self._chance = random.Random(seed)
        self._folder, self._every_s, self._say = folder, every_s, say
        self.broker = Mosquitto(directory=folder / "broker")
        # What is synced at every write survives the loss of Redis.
        self.store = Redis(directory=folder / "redis", append_only=True, fsync="always")
        self._servers: list[Server] = [self.store, *([self.broker] if kill_broker else [])]
        self._server_back_at: dict[int, float] = {}
        self._rate, self._pools, self._transport = rate, pools, transport
        self.programs: list[Program] = []

    def run(self, duration_s: float, *, settle_s: float = 120.0) -> Account:
        """Let it happen for so long, wait until everything has ended, and count."""
        runs = self._folder / "runs"
        runs.mkdir(parents=True)
        try:
            self.broker.start()
            self.store.start()
            self._start_programs(runs)
            load = Load(self.broker.port, rate=self._rate, chance=random.Random(self._chance.random()))
            with load.publishing():
                began = time.monotonic()
                self._strike_until(began + duration_s)
                ended = time.monotonic()
                self._mend_all()
            self._settle(load, runs, settle_s)
            self._count(load, runs, began, ended)
        finally:
            for program in self.programs:
                program.stop()
            self.store.stop()
            self.broker.stop()
        return self.account

    def _start_programs(self, runs: Path) -> None:
        env = {
            "MQTT_BROKER": HOST,
            "MQTT_PORT": str(self.broker.port),
            "MQTT_GROUP_NAME": "faults",
            "REDIS_URL": self.store.url,
            "ROUTEMQ_ROUTERS": "tests.applications.faults",
            "ROUTEMQ_TRANSPORT": self._transport,
            "ROUTEMQ_VISIBILITY_TIMEOUT_S": str(VISIBILITY_TIMEOUT_S),
            "FAULTS_FOLDER": str(runs),
            "FAULTS_TOPIC": TOPIC,
            "PYTHONPATH": str(REPOSITORY),
        }
        commands = {f"ingest{index}": ["routemq", "ingest", "--index", str(index)] for index in range(2)}
        for index, pool in enumerate(self._pools):
            commands[f"worker{index}-{pool}"] = [
                "celery", "-A", "routemq", "worker", "-P", pool, "-c", "2", "-Q", QUEUE, "-n", f"w{index}@faults",
            ]  # fmt: skip
        for name, argv in commands.items():
            self.programs.append(Program(name=name, argv=argv, env=env, folder=self._folder))
            self.programs[-1].start()
        for program in self.programs:
            ready = "ingest is ready" if program.name.startswith("ingest") else " ready."
            program.wait_for_output(ready)

    def _strike_until(self, deadline: float) -> None:
        next_at = time.monotonic() + self._chance.uniform(*self._every_s)
        while time.monotonic() < deadline:
            self._tend()
            if time.monotonic() >= next_at:
                next_at = time.monotonic() + self._chance.uniform(*self._every_s)
                self._strike()
            time.sleep(0.05)

    def _tend(self) -> None:
        for program in self.programs:
            program.tend(self._chance)
        for index, back_at in list(self._server_back_at.items()):
            if time.monotonic() >= back_at:
                del self._server_back_at[index]
                server = self._servers[index]
                if server.process is None:
                    server.start()
                else:
                    server.resume()

    def _strike(self) -> None:
        victims: list[Program | int] = [program for program in self.programs if program.alive and not program.paused]
        victims += [index for index in range(len(self._servers)) if index not in self._server_back_at]
        if not victims:
            return
        victim = self._chance.choice(victims)
        number = self._chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
        # Mostly a moment, sometimes longer than a lease.
        pause_s = self._chance.choice([0.5, 1.0, 2.0, 4.0, VISIBILITY_TIMEOUT_S * 1.4])
        if isinstance(victim, int):
            self._strike_server(victim, number, min(pause_s, 4.0))
        else:
            self._strike_program(victim, number, pause_s)

    def _strike_server(self, index: int, number: signal.Signals, pause_s: float) -> None:
        server = self._servers[index]
        self._note(type(server).__name__.lower(), number)
        if number is signal.SIGSTOP:
            server.pause()
        elif number is signal.SIGKILL:
            server.kill()
        else:
            server.stop()
        self._server_back_at[index] = time.monotonic() + pause_s

    def _strike_program(self, program: Program, number: signal.Signals, pause_s: float) -> None:
        family = program.family()
        whole = number is signal.SIGKILL and self._chance.random() < 0.5
        process = self._chance.choice(family) if family else None
        if process is None:
            return
        who = program.name if process.pid == family[0].pid else f"{program.name}'s child"
        self._note(f"{program.name} and its children" if whole else who, number)
        for each in family if whole else [process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(number)
        if number is signal.SIGSTOP:
            program.paused[process.pid] = time.monotonic() + pause_s

    def _note(self, who: str, number: signal.Signals) -> None:
        self.account.faults[f"{number.name} {who}"] += 1
        self._say(f"{number.name} {who}")

    def _mend_all(self) -> None:
        for index in self._server_back_at:
            self._server_back_at[index] = 0.0
        for program in self.programs:
            program.paused = dict.fromkeys(program.paused, 0.0)
        self._tend()

    def _settle(self, load: Load, runs: Path, settle_s: float) -> None:
        began, told = time.monotonic(), time.monotonic()
        while time.monotonic() < began + settle_s:
            self._tend()
            time.sleep(0.5)
            # Redis may be reading its file still.
            with contextlib.suppress(redis.RedisError):
                left = load.acknowledged - set(read_runs(runs)) - set(self._dead())
                if not left:
                    break
                if time.monotonic() > told + 5:
                    told = time.monotonic()
                    self._say(f"{len(left)} have not ended")
        self.account.settled_s = time.monotonic() - began

    def _dead(self) -> dict[int, str]:
        with self.store.client() as client:
            return {
                int(str(letter.topic).rpartition("/")[2]): letter.reason
                for letter in DeadLetters(client, Keys()).letters()
            }

    def _count(self, load: Load, runs: Path, began: float, ended: float) -> None:
        account, keys = self.account, Keys()
        places = self._places(keys)
        found, dead = read_runs(runs), self._dead()
        account.published, account.acknowledged = len(load.kinds), len(load.acknowledged)
        account.done, account.dead = len(found), Counter(dead.values())
        account.twice = sum(len(times) - 1 for times in found.values())
        account.deaths = Counter({program.name: program.deaths for program in self.programs})
        left = load.acknowledged - set(found) - set(dead)
        for number in sorted(left):
            where = next((name for name, numbers in places.items() if number in numbers), None)
            if where is None:
                account.lost.append(number)
            else:
                account.left[where] += 1
        for number, reason in dead.items():
            if REASONS.get(load.kinds[number]) != reason:
                account.wrongly_dead[number] = f"{load.kinds[number]} died of {reason}"
        moments = sorted(at for times in found.values() for at in times if began <= at <= ended)
        edges = [began, *moments, ended]
        account.standstill_s = max((after - before for before, after in itertools.pairwise(edges)), default=0)

    def _places(self, keys: Keys) -> dict[str, set[int]]:
        with self.store.client() as client, client.pipeline(transaction=True) as pipe:
            pipe.lrange(keys.queue(QUEUE), 0, -1)
            pipe.zrange(keys.delayed(QUEUE), 0, -1)
            pipe.hvals(keys.unacked)
            waiting, delayed, records = pipe.execute()
        held = [orjson.dumps(orjson.loads(record)[0]) for record in records]
        return {
            name: {int(TaskMessage.decode(raw).envelope.topic.rpartition("/")[2]) for raw in raws}
            for name, raws in {"waiting": waiting, "delayed": delayed, "held": held}.items()
        }


def read_runs(folder: Path) -> dict[int, list[float]]:
    """Return the moments at which each number was done."""
    found: dict[int, list[float]] = {}
    for path in folder.glob("runs-*"):
        for line in path.read_text("utf-8").splitlines():
            number, at = line.split()
            found.setdefault(int(number), []).append(float(at))
    return found
