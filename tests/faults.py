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
from tests.failover import Pair
from tests.fault_load import TOPIC, Load
from tests.fault_programs import Program
from tests.fault_redis import KINDS, Troubles
from tests.servers import HOST, REPOSITORY, Mosquitto, Redis, Server

QUEUE = "faults"
VISIBILITY_TIMEOUT_S = 10
_SHARE_OF_TROUBLES = 0.3

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
        troubles: What may become of Redis besides its death, see `fault_redis.KINDS`.
        only_troubles: Let nothing else happen, and these in turn.
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
        troubles: Sequence[str] = KINDS,
        only_troubles: bool = False,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.account = Account()
        self._chance = random.Random(seed)
        self._folder, self._every_s, self._say = folder, every_s, say
        self.broker = Mosquitto(directory=folder / "broker")
        # What is synced at every write survives the loss of Redis.
        self._stores = [
            Redis(directory=folder / name, append_only=True, fsync="always") for name in ("redis", "replica")
        ]
        self._pair: Pair | None = None
        self._kill_broker = kill_broker
        self._servers_back_at: dict[str, tuple[Server, float]] = {}
        self._troubles: Troubles | None = None
        self._trouble_kinds, self._only_troubles, self._trouble_ends_at = list(troubles), only_troubles, 0.0
        self._rate, self._pools, self._transport = rate, pools, transport
        self.programs: list[Program] = []

    def run(
        self, duration_s: float, *, settle_s: float = 120.0, until: Callable[[Account], bool] = lambda _account: True
    ) -> Account:
        """Let it happen for so long, wait until everything has ended, and count.

        Args:
            settle_s: How long nothing may end before what is left is taken for lost: what the MQTT broker still has
                of it lies nowhere else.
            until: Goes on for longer, on a slow machine, while too little has struck.
        """
        runs = self._folder / "runs"
        runs.mkdir(parents=True)
        try:
            self.broker.start()
            self._start_stores()
            self._start_programs(runs)
            load = Load(self.broker.port, rate=self._rate, chance=random.Random(self._chance.random()))
            with load.publishing():
                began = time.monotonic()
                self._strike_until(began + duration_s, until)
                ended = time.monotonic()
                self._mend_all()
            self._settle(load, runs, settle_s)
            self._count(load, runs, began, ended)
        finally:
            for program in self.programs:
                program.stop()
            if self._pair is not None:
                self._pair.gate.close()
            for store in self._stores:
                store.stop()
            self.broker.stop()
        return self.account

    @property
    def store(self) -> Redis:
        """The Redis that is the primary now."""
        return self.pair.primary

    @property
    def pair(self) -> Pair:
        if self._pair is None:
            raise RuntimeError("it has not begun")
        return self._pair

    def _start_stores(self) -> None:
        primary, replica = self._stores
        primary.start()
        replica.start()
        self._pair = Pair.of(primary, replica)
        keys = Keys()
        names = [keys.queue(QUEUE), keys.delayed(QUEUE), keys.unacked, keys.unacked_index, keys.dead_entries]
        self._troubles = Troubles(self._pair, chance=self._chance, names=names, restart_worker=self._restart_worker)

    def _restart_worker(self) -> None:
        for program in self.programs:
            if program.name.startswith("worker") and program.alive and not program.paused:
                self._strike_program(program, signal.SIGTERM, 0, itself=True)
                return

    def _start_programs(self, runs: Path) -> None:
        env = {
            "MQTT_BROKER": HOST,
            "MQTT_PORT": str(self.broker.port),
            "MQTT_GROUP_NAME": "faults",
            "REDIS_URL": self.pair.url,
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

    def _strike_until(self, deadline: float, is_enough: Callable[[Account], bool]) -> None:
        next_at = time.monotonic() + self._chance.uniform(*self._every_s)
        while time.monotonic() < deadline or not is_enough(self.account):
            self._tend()
            if time.monotonic() >= next_at:
                next_at = time.monotonic() + self._chance.uniform(*self._every_s)
                self._strike()
            time.sleep(0.05)

    def _tend(self) -> None:
        for program in self.programs:
            program.tend(self._chance)
        for name, (server, back_at) in list(self._servers_back_at.items()):
            if time.monotonic() >= back_at:
                del self._servers_back_at[name]
                if server.process is None:
                    server.start()
                else:
                    server.resume()
        if self._troubles is not None and self._troubles.any and time.monotonic() >= self._trouble_ends_at:
            self._troubles.end()
            self._say("mended")

    def _strike(self) -> None:
        # Mostly a moment, sometimes longer than a lease.
        pause_s = self._chance.choice([0.5, 1.0, 2.0, 4.0, VISIBILITY_TIMEOUT_S * 1.4])
        if self._begin_trouble(min(pause_s, 2.0 if self._only_troubles else 4.0)) or self._only_troubles:
            return
        victims: list[Program | Server] = [program for program in self.programs if program.alive and not program.paused]
        # A Redis that dies with a trouble upon it would come back without it.
        if "redis" not in self._servers_back_at and not (self._troubles and self._troubles.any):
            victims.append(self.store)
        if self._kill_broker and "mosquitto" not in self._servers_back_at:
            victims.append(self.broker)
        if not victims:
            return
        victim = self._chance.choice(victims)
        number = self._chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
        if isinstance(victim, Server):
            self._strike_server(victim, number, min(pause_s, 4.0))
        else:
            self._strike_program(victim, number, pause_s)

    def _begin_trouble(self, pause_s: float) -> bool:
        troubles, kinds = self._troubles, self._trouble_kinds
        if troubles is None or not kinds or troubles.any or self._servers_back_at:
            return False
        if not self._only_troubles and self._chance.random() > _SHARE_OF_TROUBLES:
            return False
        kinds.append(kinds.pop(0))
        what = troubles.begin(kinds[-1])
        if what is None:
            return False
        self.account.faults[kinds[-1]] += 1
        self._say(what)
        self._trouble_ends_at = time.monotonic() + pause_s
        return True

    def _strike_server(self, server: Server, number: signal.Signals, pause_s: float) -> None:
        name = type(server).__name__.lower()
        self._note(name, number)
        if number is signal.SIGSTOP:
            server.pause()
        elif number is signal.SIGKILL:
            server.kill()
        else:
            server.stop()
        self._servers_back_at[name] = server, time.monotonic() + pause_s

    def _strike_program(
        self, program: Program, number: signal.Signals, pause_s: float, *, itself: bool = False
    ) -> None:
        family = program.family()
        whole = number is signal.SIGKILL and self._chance.random() < 0.5
        process = (family[0] if itself else self._chance.choice(family)) if family else None
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
        self._servers_back_at = {name: (server, 0.0) for name, (server, _) in self._servers_back_at.items()}
        self._trouble_ends_at = 0.0
        for program in self.programs:
            program.paused = dict.fromkeys(program.paused, 0.0)
        self._tend()

    def _settle(self, load: Load, runs: Path, settle_s: float) -> None:
        began = told = moved_at = time.monotonic()
        fewest = len(load.acknowledged) + 1
        while time.monotonic() < moved_at + settle_s:
            self._tend()
            time.sleep(0.5)
            # Redis may be reading its file still.
            with contextlib.suppress(redis.RedisError):
                left = load.acknowledged - set(read_runs(runs)) - set(self._dead())
                if not left:
                    break
                if len(left) < fewest:
                    fewest, moved_at = len(left), time.monotonic()
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
