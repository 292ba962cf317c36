"""The fleet under the users of `deploy/`, one for each role, of Redis and of the MQTT broker: nothing is refused."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from routemq.queues import Keys
from tests.flower import request
from tests.processes import clean_environment, running, wait_until
from tests.servers import HOST, REPOSITORY, Mosquitto, Redis, free_port

ROLES = ("ingest", "worker", "flower", "desk")
REDIS_PASSWORDS = {role: f"redis-{role}" for role in ROLES}
MQTT_PASSWORDS = {name: f"mqtt-{name}" for name in ("ingest", "worker", "desk", "devices")}
PREFIX = "fleet:"
LOGIN = {"Authorization": "Basic " + base64.b64encode(b"admin:secret").decode()}

ROUTES = """
from routemq import Reject, Router

def tell(device_id, payload, client):
    client.publish(f"answers/{device_id}", "1", qos=1)

def refuse(device_id):
    raise Reject("never")

router = Router()
router.on("sensors/{device_id}/data", tell, shared=True, queue="told")
router.on("alerts/{device_id}", refuse, queue="refused")
"""


@dataclass(kw_only=True)
class GuardedRedis(Redis):
    """Redis as `deploy/redis/start` starts it; the test itself is an administrator."""

    env: Mapping[str, str] = field(default_factory=dict)

    def url_of(self, role: str) -> str:
        return f"redis://{role}:{REDIS_PASSWORDS[role]}@{self.host}:{self.port}/0"

    @property
    def url(self) -> str:
        return f"redis://admin:admin@{self.host}:{self.port}/0"

    def _command(self) -> list[str]:
        start = self.directory / "start"
        start.write_bytes((REPOSITORY / "deploy/redis/start").read_bytes())
        users = (REPOSITORY / "deploy/redis/users.acl").read_text("utf-8")
        (self.directory / "users.acl").write_text(users + "user admin on >admin ~* &* +@all\n", encoding="utf-8")
        passwords = {f"REDIS_{role.upper()}_PASSWORD": password for role, password in REDIS_PASSWORDS.items()}
        words = {"USERS_ACL": str(self.directory / "made.acl"), "ROUTEMQ_KEY_PREFIX": PREFIX, **passwords}
        return ["env", *(f"{name}={value}" for name, value in words.items()), "sh", str(start), *super()._command()[1:]]


class GuardedMosquitto(Mosquitto):
    """Mosquitto as `deploy/mosquitto/start` starts it."""

    def _client_options(self) -> list[str]:
        return ["-u", "devices", "-P", MQTT_PASSWORDS["devices"]]

    def _command(self) -> list[str]:
        source = REPOSITORY / "deploy/mosquitto"
        listener = (source / "listener.conf").read_text("utf-8")
        listener = listener.replace("listener 1883", f"listener {self.port} {self.host}")
        listener = listener.replace("/tmp/", f"{self.directory}/")
        (self.directory / "listener.conf").write_text(listener, encoding="utf-8")
        own = {"listener ", "persistence_location ", "allow_anonymous "}
        limits = [line for line in self._configuration() if line.split(" ")[0] + " " not in own]
        (self.directory / "limits.conf").write_text("\n".join(limits), encoding="utf-8")
        passwords = {f"MQTT_{name.upper()}_PASSWORD": password for name, password in MQTT_PASSWORDS.items()}
        words = {"TMPDIR": str(self.directory), **passwords}
        files = [str(self.directory / name) for name in ("limits.conf", "listener.conf")]
        return ["env", *(f"{name}={value}" for name, value in words.items()), "sh", str(source / "start"), *files]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GuardedRedis]:
    server = GuardedRedis(directory=tmp_path / "redis", append_only=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[GuardedMosquitto]:
    server = GuardedMosquitto(directory=tmp_path / "mosquitto")
    server.start()
    yield server
    server.stop()


def test_the_whole_fleet_works_and_nothing_is_refused(
    store: GuardedRedis, broker: GuardedMosquitto, tmp_path: Path, group_name: str
) -> None:
    project = tmp_path / "project"
    (project / "app").mkdir(parents=True)
    (project / "app" / "__init__.py").touch()
    (project / "app" / "routers.py").write_text(ROUTES, encoding="utf-8")
    keys, port, metrics = Keys(PREFIX), free_port(), free_port()

    def environment(role: str, **more: str) -> dict[str, str]:
        mqtt = {"MQTT_USERNAME": role, "MQTT_PASSWORD": MQTT_PASSWORDS[role]} if role in MQTT_PASSWORDS else {}
        return {
            "MQTT_BROKER": HOST,
            "MQTT_PORT": str(broker.port),
            "MQTT_GROUP_NAME": group_name,
            "MQTT_CLIENT_ID": "auto",
            "REDIS_URL": store.url_of(role),
            "ROUTEMQ_KEY_PREFIX": PREFIX,
            **mqtt,
            **more,
        }

    def desk(*command: str, codes: tuple[int, ...] = (0,)) -> str:
        run = subprocess.run(
            [sys.executable, "-m", *command], cwd=project, env=clean_environment(environment("desk")),
            capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        assert run.returncode in codes, (command, run.stdout + run.stderr)
        return run.stdout

    worker = ["celery", "-A", "routemq", "worker", "-Q", "told,refused", "-E", "--without-gossip", "--without-mingle"]
    flower = ["celery", "-A", "routemq", "flower", f"--port={port}", "--basic_auth=admin:secret"]
    with (
        running(["routemq", "ingest"], cwd=project, env=environment("ingest")) as ingest,
        running([*worker, "-n", "one@here"], cwd=project, env=environment("worker")) as one,
        running(flower, cwd=project, env=environment("flower", FLOWER_HEALTH_PORT=str(metrics))) as page,
        store.client() as client,
    ):
        ingest.wait_for_output("ingest is ready")
        one.wait_for_output(" ready.")
        page.wait_for_output("Visit me at")
        for number in range(4):
            broker.publish(f"sensors/{number}/data", "1")
            broker.publish(f"alerts/{number}", "1")

        def counted(route: str, what: str) -> int:
            return int(client.hget(keys.counters(route), what) or 0)

        wait_until(lambda: counted("sensors/{device_id}/data", "done") == 4, message="what is told is told")
        wait_until(lambda: counted("alerts/{device_id}", "dead") == 4, message="what is refused is dead")
        desk("routemq", "dlq", "replay", "--route", "alerts/{device_id}", "--yes")
        wait_until(lambda: counted("alerts/{device_id}", "dead") == 8, message="they died again")
        # Asked by remote control, whose answer comes by a key and a channel of Celery's own.
        wait_until(
            lambda: "told" in json.dumps(request(f"http://{HOST}:{port}/api/workers?refresh=1", headers=LOGIN)),
            message="Flower knows what the worker serves",
        )
        found = json.loads(desk("routemq", "doctor", "--json", codes=(0, 1)))["findings"]
        assert {each["check"] for each in found if each["level"] != "pass"} <= {"dead letters"}
        log = [{name: entry[name] for name in ("reason", "object", "username")} for entry in client.acl_log()]
        assert log == []
        assert client.exists(keys.history_looks), "the history of routes is among what is allowed"
        letters = client.hlen(keys.dead_entries)
        assert letters == 4
        store.kill()
        store.start()
        with store.client() as restarted:
            assert restarted.hlen(keys.dead_entries) == letters, "it has read all of its append-only file"
            with pytest.raises(redis.AuthenticationError), redis.Redis(host=store.host, port=store.port) as nobody:
                nobody.ping()
        assert "Traceback" not in ingest.output() + one.output() + page.output()
        assert "does not tell" not in one.output()
