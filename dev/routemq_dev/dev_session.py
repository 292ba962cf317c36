"""Everything that `routemq dev` runs, from its start to its stop."""

import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routemq.errors import RouteMQError
from routemq.routing import Router
from routemq.settings import Settings, load_settings
from routemq.supervision.child import Command
from routemq.supervision.commands import flower_command, is_ingest
from routemq.supervision.loading import read_rows, router_of
from routemq.supervision.processes import Supervisor
from routemq.supervision.stop import Stop
from routemq.supervision.terminal_log import TerminalLog
from routemq.supervision.worker_manager import WorkerManager
from routemq.text import plural
from routemq_dev.configured_servers import check_configured_broker, check_configured_redis
from routemq_dev.ports import LOOPBACK, choose_port
from routemq_dev.servers import MQTT_SERVER, REDIS_SERVER, mqtt_broker, redis_server
from routemq_dev.stray_routers import stray_routers

FLOWER, FLEET = "flower", "fleet"

_SERVERS_START_S = 30.0
_WORK_STARTS_S = 90.0


def route_changes(before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what became of the routes, in words."""
    old, new = ({row["name"]: row for row in rows} for rows in (before, after))
    for sign, names in (("+", [name for name in new if name not in old]), ("-", [n for n in old if n not in new])):
        if names:
            yield f"{sign}{plural(len(names), 'route')} {', '.join(names)}"
    for name in new.keys() & old.keys():
        told = [
            f"{key} {old[name][key]} → {row}"
            for key, row in new[name].items()
            if key not in ("source", "example", "example_topic", "paused") and row != old[name].get(key)
        ]
        if told:
            yield f"route {name}: {', '.join(told)}"


class NotStartedError(RouteMQError):
    """Some processes do not serve."""

    def __init__(self, *, names: tuple[str, ...]) -> None:
        self.names = names
        super().__init__(f"these do not start: {', '.join(names)}; what they say stands above")


@dataclass(frozen=True, slots=True, kw_only=True)
class DevOptions:
    """What `routemq dev` was asked for.

    Attributes:
        project: The application's folder, and the working directory of every process.
        state: Where the servers keep their data.
        mqtt_port: Of the MQTT broker that is brought along; None takes the default one, or a free one.
        redis_port: Of the Redis that is brought along, likewise.
        flower_port: Of Flower, likewise.
        flower: Whether there is a Flower.
        rate: Messages per second of the simulated fleet; None: there is none.
    """

    project: Path
    state: Path
    mqtt_port: int | None = None
    redis_port: int | None = None
    flower_port: int | None = None
    flower: bool = True
    rate: float | None = None


@dataclass(slots=True)
class DevSession:
    """The processes of one `routemq dev`.

    Attributes:
        env: What the processes get beyond this process's environment: where the servers are.
        examples: Route → a topic and a payload that its controller takes; of those that take text.
        stopping: Set it, and a start that is under way gives up.
    """

    options: DevOptions
    log: TerminalLog
    supervisor: Supervisor
    env: dict[str, str] = field(default_factory=dict)
    router: Router = field(default_factory=Router)
    examples: dict[str, tuple[str, str]] = field(default_factory=dict)
    stopping: Stop = field(default_factory=Stop)
    flower_url: str | None = None
    broker_is: str = ""
    redis_is: str = ""
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _strays: set[str] = field(default_factory=set)
    _not_loaded: set[str] = field(default_factory=set)  # changed files, since the application was loaded last
    _waits_for_a_start: set[str] = field(default_factory=set)
    _workers: WorkerManager | None = None

    def start(self) -> None:
        """Start everything, in the order of need, and return when it serves.

        Raises:
            RouteMQError: The application or a configured server cannot be used, or something does not start.
        """
        self.log.quiet = True
        settings = load_settings()
        self._take(read_rows(self.options.project, os.environ))
        servers = [*self._broker(settings), *self._redis(settings)]
        self.supervisor.start(*servers)
        self._wait([command.name for command in servers], timeout_s=_SERVERS_START_S)
        if self.options.flower:
            self.supervisor.start(self._flower())
        self._start_workers()
        names = [state.name for state in self.supervisor.states]
        self._wait(names, timeout_s=_WORK_STARTS_S)
        self.log.quiet = False
        if self.options.rate is not None and not self.stopping.is_set():
            self.supervisor.start(self._fleet(self.options.rate))

    def reload(self, changed: Collection[str], *, out_of_date: Callable[[], bool]) -> None:
        """Load the application anew, and start with it what it concerns: the workers; ingest only for other routes.

        Args:
            changed: Files, relative to the project.
            out_of_date: Whether more was changed meanwhile. Then what starts is not waited for: it may be unable to.

        Raises:
            RouteMQError: It cannot be loaded, its settings cannot be used, or something does not start. What runs was
                left as it is, but for the last.
        """
        before = self._rows
        self._not_loaded.update(changed)
        self._say_what_waits_for_a_start(load_settings())
        self._take(read_rows(self.options.project, {**os.environ, **self.env}))
        for told in route_changes(before, self._rows):
            self.log.say(told)
        concerns_ingest = self._concerns_ingest(before, self._not_loaded)
        self._not_loaded.clear()
        self.log.quiet = True
        try:
            if self._workers is not None and not concerns_ingest:
                self.supervisor.restart(*(each.name for each in self._workers.workers if not is_ingest(each.name)))
            else:
                if self._workers is not None:
                    self._workers.stop_workers()
                if self.stopping.is_set():
                    return
                self._start_workers()
            self._wait(self._serving, timeout_s=_WORK_STARTS_S, cancelled=out_of_date)
        finally:
            self.log.quiet = False

    @property
    def serves(self) -> bool:
        """Whether all that is to run does, and has said that it serves."""
        names = self._serving
        return all(state.ready for state in self.supervisor.states if state.name in names)

    def stop_fleet(self) -> None:
        """Stop the simulated fleet, after the last confirmation."""
        self.supervisor.stop(FLEET)

    def stop_work(self) -> None:
        """Stop what brings and runs messages, in peace: first what brings them."""
        self.log.quiet = True
        self.supervisor.stop(FLEET)
        if self._workers is not None:
            self._workers.stop_workers()
        self.supervisor.stop(FLOWER)

    def stop(self) -> None:
        """Stop everything, in peace, the servers last."""
        self.stop_work()
        self.supervisor.stop(MQTT_SERVER, REDIS_SERVER)

    def _say_what_waits_for_a_start(self, settings: Settings) -> None:
        """Say it of servers that were configured since those were brought along, which their processes go on using."""
        brought = {"mqtt_broker": "MQTT_BROKER", "redis_url": "REDIS_URL"}
        now = {name for field, name in brought.items() if name in self.env and field in settings.model_fields_set}
        for name in sorted(now - self._waits_for_a_start):
            self.log.say(
                f"{name} counts when routemq dev is started anew; it runs on a server of its own", style="yellow"
            )
        self._waits_for_a_start = now

    def _concerns_ingest(self, before: list[dict[str, Any]], changed: Collection[str]) -> bool:
        """Whether ingest must be started anew: with other settings or routes, or when it runs code of the project."""
        settings = load_settings()
        hooks = settings.dlq_redact_hook or settings.alert_hook
        told = ("name", "template", "queue", "qos", "shared", "worker_count")
        same = [[row[name] for name in told] for row in before] == [[row[name] for name in told] for row in self._rows]
        return not same or bool(hooks) or any(Path(name).suffix != ".py" for name in changed)

    def _take(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        self.router, self.examples = (
            router_of(rows),
            {row["name"]: (row["example_topic"], row["example"]) for row in rows if row["example"] is not None},
        )
        sources = [row["source"] for row in rows]
        strays = stray_routers(self.options.project, sources)
        for name in sorted(set(strays) - self._strays):
            self.log.say(
                f"{name} has a Router outside {load_settings().routers}: its routes are not served. Move it there, or "
                "import it there.",
                style="yellow",
            )
        self._strays = set(strays)

    def _broker(self, settings: Settings) -> list[Command]:
        if "mqtt_broker" in settings.model_fields_set:
            check_configured_broker(settings)
            self.broker_is = f"{settings.mqtt_broker}:{settings.mqtt_port} (MQTT_BROKER)"
            return []
        port = choose_port(
            settings.mqtt_port, asked=self.options.mqtt_port, what="the MQTT broker", option="--mqtt-port"
        )
        label, command = mqtt_broker(self.options.state, port)
        self.env |= {
            "MQTT_BROKER": LOOPBACK, "MQTT_PORT": str(port), "MQTT_TLS_ENABLED": "false", "MQTT_USERNAME": "",
            "MQTT_PASSWORD": "",
        }  # fmt: skip
        self.broker_is = f"{LOOPBACK}:{port} ({label}{_instead(settings.mqtt_port, port, self.options.mqtt_port)})"
        return [command]

    def _redis(self, settings: Settings) -> list[Command]:
        if "redis_url" in settings.model_fields_set:
            check_configured_redis(settings)
            self.redis_is = "the one of REDIS_URL"
            return []
        port = choose_port(6379, asked=self.options.redis_port, what="Redis", option="--redis-port")
        label, command = redis_server(self.options.state, port)
        url = f"redis://{LOOPBACK}:{port}/0"
        self.env["REDIS_URL"] = url
        self.redis_is = f"{url} ({label}{_instead(6379, port, self.options.redis_port)})"
        return [command]

    def _flower(self) -> Command:
        port = choose_port(5555, asked=self.options.flower_port, what="Flower", option="--flower-port")
        self.flower_url = f"http://{LOOPBACK}:{port}"
        options = (f"--address={LOOPBACK}", f"--port={port}", "--persistent=True")
        return flower_command(
            *options, f"--db={self.options.state / 'flower'}", env=self.env, cwd=self.options.project, name=FLOWER
        )

    def _fleet(self, rate: float) -> Command:
        argv = (sys.executable, "-m", "routemq", "simulate", "--rate", str(rate), "--json")
        return Command(name=FLEET, argv=argv, env=self.env, cwd=self.options.project, restart=False)

    def _start_workers(self) -> None:
        self._workers = WorkerManager(
            self.router, settings=load_settings(), supervisor=self.supervisor, cwd=self.options.project, env=self.env
        )
        self._workers.start_workers()

    @property
    def _serving(self) -> list[str]:
        return [state.name for state in self.supervisor.states if state.name != FLEET]

    def _wait(self, names: list[str], *, timeout_s: float, cancelled: Callable[[], bool] = lambda: False) -> None:
        def is_over() -> bool:
            return self.stopping.is_set() or cancelled()

        late = self.supervisor.wait_ready(names, timeout_s=timeout_s, cancelled=is_over)
        if late and not is_over():
            raise NotStartedError(names=late)


def _instead(usual: int, port: int, asked: int | None) -> str:
    return "" if port in (usual, asked) else f"; port {usual} is in use"
