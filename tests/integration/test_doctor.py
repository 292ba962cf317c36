"""`routemq doctor` on set-ups that are broken, each in one way: it names the fault."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from routemq.metrics.presence import ProcessReport
from routemq.queues import Keys
from tests.ingest import CONTROLLER, FakeBroker
from tests.mqtt_peer import Peer
from tests.processes import clean_environment, completed, wait_until
from tests.servers import HOST, Mosquitto, Redis, free_port

Make = Callable[..., Any]
ROUTES = f"""
from routemq import Router

router = Router()
router.on("doctor/sensors/{{d}}", "{CONTROLLER}", shared=True, worker_count=2, queue="sensors")
router.on("doctor/alerts/{{d}}", "{CONTROLLER}", queue="alerts")
"""
WORKER = ProcessReport(
    kind="worker", name="w@here", version="1", group="tests", queues=("sensors", "alerts"), concurrency=4, hands=4
)
INGEST = ProcessReport(kind="ingest", name="i-0", version="1", group="tests", details={"holds": True, "received": 500})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    package = tmp_path / "app"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "routers.py").write_text(ROUTES, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def whole_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis as it should be."""
    store = Redis(directory=tmp_path_factory.mktemp("whole"), append_only=True)
    store.start()
    yield store
    store.stop()


class Patient:
    """A set-up that is well until something is done to it."""

    def __init__(self, project: Path, broker_port: int, store: Redis, key_prefix: str) -> None:
        self.project, self.store, self.keys = project, store, Keys(key_prefix)
        self.environment: dict[str, str] = {
            "MQTT_BROKER": HOST,
            "MQTT_PORT": str(broker_port),
            "MQTT_GROUP_NAME": "tests",
            "REDIS_URL": store.url,
            "ROUTEMQ_KEY_PREFIX": key_prefix,
        }

    def has(self, *reports: ProcessReport) -> None:
        """Let these be the processes that are there."""
        with self.store.client() as client:
            client.delete(self.keys.processes)
            for report in reports:
                told = replace(report, at=report.at or time.time(), clock_ahead_s=report.clock_ahead_s)
                client.hset(self.keys.processes, f"{told.kind}:{told.name}", orjson.dumps(asdict(told)))

    def examined(self, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """Return the exit code, and the worst finding of each check."""
        run = completed(["routemq", "doctor", "--json", *options], cwd=self.project, env=self.environment)
        assert run.returncode in (0, 1, 2), run.stderr
        order = ("skip", "pass", "warn", "fail")
        found: dict[str, dict[str, Any]] = {}
        for finding in json.loads(run.stdout)["findings"]:
            before = found.get(finding["check"])
            if before is None or order.index(finding["level"]) > order.index(before["level"]):
                found[finding["check"]] = finding
        return run.returncode, found


@pytest.fixture
def patient(project: Path, mosquitto_server: Mosquitto, whole_redis: Redis, key_prefix: str) -> Patient:
    made = Patient(project, mosquitto_server.port, whole_redis, key_prefix)
    made.has(WORKER, INGEST)
    return made


def test_a_healthy_set_up_is_all_green(patient: Patient) -> None:
    code, found = patient.examined()
    assert {name: finding for name, finding in found.items() if finding["level"] != "pass"} == {}
    assert code == 0
    assert "10 and 10" in found["mqtt shared subscriptions"]["text"]
    assert "only as messages come" in found["mqtt subscriptions"]["text"]


def test_what_is_not_looked_at_does_not_count(patient: Patient) -> None:
    code, found = patient.examined("--no-probe")
    assert code == 0
    assert {name for name, each in found.items() if each["level"] != "pass"} == {
        "mqtt shared subscriptions", "mqtt backlog",
    }  # fmt: skip


def _old(report: ProcessReport) -> ProcessReport:
    return replace(report, at=time.time() - 60)


FLEETS: Mapping[str, tuple[tuple[ProcessReport, ...], str, str, str]] = {
    "no ingest": ((WORKER,), "ingest", "fail", "no ingest process"),
    "ingest that is paused": (
        (WORKER, replace(INGEST, problem="redis is full")), "ingest", "fail", "i-0: redis is full",
    ),
    "nobody holds the non-shared routes": ((WORKER, replace(INGEST, details={})), "ingest", "warn", "non-shared"),
    "two groups": (
        (WORKER, INGEST, replace(INGEST, name="i-1", group="other")), "groups", "warn", "other, tests",
    ),
    "uneven shares": (
        (WORKER, INGEST, replace(INGEST, name="i-1", details={"received": 10})), "distribution", "warn", "i-1 10",
    ),
    "a queue without a worker": ((replace(WORKER, queues=("sensors",)), INGEST), "workers", "fail", "alerts"),
    "too few hands": ((replace(WORKER, hands=1), INGEST), "workers", "warn", "sensors has 1 of 2"),
    "a worker that cannot work": (
        (replace(WORKER, problem="not connected to redis"), INGEST), "workers", "fail", "not connected",
    ),
    "a worker of nothing": (
        (WORKER, INGEST, replace(WORKER, name="x@here", queues=("gone",))), "workers without queues", "warn", "x@here",
    ),
    "two of one name": (
        (WORKER, replace(INGEST, details=INGEST.details | {"namesake": "process 7 on there"})),
        "names", "fail", "and process 7 on there",
    ),
    "two releases": ((WORKER, replace(INGEST, version="2")), "versions", "warn", "1, 2"),
    "a wrong clock": ((replace(WORKER, clock_ahead_s=-31.0), INGEST), "clocks", "warn", "-31.0 s"),
    "a lost worker": (
        (WORKER, INGEST, _old(replace(WORKER, name="lost@here"))), "lost processes", "warn", "worker lost@here",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FLEETS)
def test_what_is_wrong_with_a_fleet_is_named(patient: Patient, case: str) -> None:
    reports, check, level, words = FLEETS[case]
    patient.has(*reports)
    code, found = patient.examined("--no-probe")
    assert (found[check]["level"], words in found[check]["text"]) == (level, True), found[check]
    assert found[check]["mend"]
    assert code == {"pass": 0, "warn": 1, "fail": 2}[level]


BROKERS: Mapping[str, tuple[str, str, str, str]] = {
    "a lower qos": ("max_qos 0", "mqtt limits", "warn", "QoS 0 at most"),
    "small packets": ("max_packet_size 2000", "mqtt limits", "warn", "packets of 2000 bytes"),
}


@pytest.mark.parametrize("case", BROKERS)
def test_what_is_wrong_with_a_broker_is_named(patient: Patient, own_broker: Make, case: str) -> None:
    extra, check, level, words = BROKERS[case]
    broker = own_broker(extra=extra, persistence=False)
    patient.environment["MQTT_PORT"] = str(broker.port)
    _, found = patient.examined("--no-probe")
    assert (found[check]["level"], words in found[check]["text"]) == (level, True), found[check]


def test_what_the_doctor_made_the_broker_drop_is_no_finding_of_the_next_one(patient: Patient, own_broker: Make) -> None:
    broker = own_broker(extra="max_queued_messages 1000\nsys_interval 1", persistence=False)
    patient.environment["MQTT_PORT"] = str(broker.port)
    listener = Peer(broker.port).connect()
    listener.subscribe("$SYS/broker/publish/messages/dropped")

    def told(dropped: str) -> tuple[str, str]:
        wait_until(lambda: listener.payloads[-1:] == [dropped], message=f"it has counted {dropped}")
        found = patient.examined("--no-probe")[1]["mqtt dropped messages"]
        return found["level"], found["text"].partition(", ")[2]

    backlog = patient.examined()[1]["mqtt backlog"]
    assert (backlog["level"], "of 1200 messages" in backlog["text"]) == ("fail", True), backlog
    assert told("200") == ("pass", "all of them the doctor's own tries")
    absent = Peer(broker.port).connect(clean=False, SessionExpiryInterval=600)
    absent.subscribe("full")
    absent.close()
    listener.publish_all("full", ["x"] * 1007)
    assert told("207") == ("warn", "200 of them the doctor's own tries")
    with patient.store.client() as client:
        # What is remembered of a broker's earlier life says nothing of this one's.
        client.hset(patient.keys.doctor_drops, f"{HOST}:{broker.port}", '{"at": 1, "count": 207}')
    assert told("207") == ("warn", "")
    listener.close()


def test_topics_that_this_user_may_not_read_are_named(patient: Patient) -> None:
    with FakeBroker(codes={"doctor/sensors": 0x87}) as broker:
        patient.environment["MQTT_PORT"] = str(broker.port)
        code, found = patient.examined("--no-probe")
    assert (code, found["mqtt subscriptions"]["level"]) == (2, "fail")
    assert "doctor/sensors/+" in found["mqtt subscriptions"]["text"]
    assert "doctor/alerts" not in found["mqtt subscriptions"]["text"]


def test_a_broker_that_is_away_and_one_that_refuses_the_user_are_named(patient: Patient, own_broker: Make) -> None:
    broker = own_broker(users={"u": "right"}, persistence=False)
    patient.environment |= {"MQTT_PORT": str(broker.port), "MQTT_USERNAME": "u", "MQTT_PASSWORD": "wrong"}
    code, found = patient.examined()
    assert (code, "ot authori" in found["mqtt connection"]["text"]) == (2, True), found["mqtt connection"]
    assert "wrong" not in json.dumps(found)
    patient.environment["MQTT_PORT"] = str(free_port())
    assert patient.examined()[1]["mqtt connection"]["level"] == "fail"


def test_a_version_that_is_asked_for_is_no_fault_of_the_broker(patient: Patient) -> None:
    patient.environment["MQTT_PROTOCOL"] = "3.1.1"
    _, found = patient.examined("--no-probe")
    assert (found["mqtt connection"]["level"], "()" in found["mqtt connection"]["text"]) == ("pass", False)


def test_a_broker_that_refuses_only_to_share_forbids_no_topic(patient: Patient) -> None:
    with FakeBroker(codes={"$share": 0x9E}) as broker:
        patient.environment["MQTT_PORT"] = str(broker.port)
        _, found = patient.examined("--no-probe")
    assert found["mqtt subscriptions"]["level"] == "pass", found


@pytest.mark.parametrize(("share", "level"), [("auto", "warn"), ("always", "fail"), ("never", "pass")])
def test_a_broker_without_shared_subscriptions_is_as_bad_as_their_use(patient: Patient, share: str, level: str) -> None:
    with FakeBroker(connack=b"\x20\x05\0\0\x02\x2a\0", codes={"$share": 0x9E}) as broker:
        patient.environment |= {"MQTT_PORT": str(broker.port), "MQTT_SHARE": share}
        _, found = patient.examined("--no-probe")
    assert found["mqtt shared subscriptions"]["level"] == level, found
    assert found["mqtt subscriptions"]["level"] == "pass", found


def test_a_redis_that_forgets_throws_away_and_is_nearly_full_is_named(patient: Patient, own_store: Make) -> None:
    store = own_store(options={"maxmemory-policy": "allkeys-lru"})
    patient.environment["REDIS_URL"] = store.url
    code, found = patient.examined("--no-probe")
    assert code == 2
    assert (found["redis persistence"]["level"], found["redis eviction"]["level"]) == ("warn", "fail")
    assert "allkeys-lru" in found["redis eviction"]["text"]
    with store.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.rpush("ballast", *(b"x" * 10_000 for _ in range(1_000)))
    with store.client() as client:
        # Without the buffer of what was sent.
        client.config_set("maxmemory", str(int(client.info("memory")["used_memory"] * 1.04)))
    assert patient.examined("--no-probe")[1]["redis memory"]["level"] == "warn"


def test_a_replica_is_named(patient: Patient, own_store: Make) -> None:
    store = own_store()
    with store.client() as client:
        client.replicaof(HOST, str(patient.store.port))
        patient.environment["REDIS_URL"] = store.url
        code, found = patient.examined("--no-probe")
        client.replicaof("NO", "ONE")
    assert (code, found["redis role"]["level"]) == (2, "fail")


def test_a_redis_that_is_away_is_named(patient: Patient) -> None:
    patient.environment["REDIS_URL"] = f"redis://{HOST}:{free_port()}/0"
    code, found = patient.examined("--no-probe")
    assert (code, found["redis connection"]["level"]) == (2, "fail")


def test_keys_of_another_program_under_our_names_and_letters_are_named(patient: Patient) -> None:
    keys = patient.keys
    with patient.store.client() as client:
        client.hset(keys.queue("sensors"), "a", "b")
        client.set(keys.delayed("alerts"), "x")
        client.zadd(keys.dead_by_time("doctor/alerts/{d}"), {"one": 1.0})
        client.hset(keys.dead_full_routes, "doctor/sensors/{d}", "sensors")
    code, found = patient.examined("--no-probe")
    assert code == 2
    assert f"{keys.queue('sensors')} is a hash, not a list" in found["redis keys"]["text"]
    assert f"{keys.delayed('alerts')} is a string, not a zset" in found["redis keys"]["text"]
    assert "doctor/sensors/{d}" in found["dead letters"]["text"]
    with patient.store.client() as client:
        client.delete(keys.dead_full_routes)
    assert "1 wait for a decision" in patient.examined("--no-probe")[1]["dead letters"]["text"]


@pytest.mark.parametrize(
    ("refused", "check", "level"), [("-info", "redis version", "warn"), ("-llen", "redis permissions", "fail")]
)
def test_a_redis_user_who_may_not_ask_is_told_so(patient: Patient, refused: str, check: str, level: str) -> None:
    with patient.store.client() as client:
        client.acl_setuser(
            "narrow", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", refused], reset=True
        )
        patient.environment["REDIS_URL"] = f"redis://narrow:pw@{HOST}:{patient.store.port}/0"
        code, found = patient.examined("--no-probe")
        client.acl_deluser("narrow")
    assert found[check]["level"] == level
    assert code == (1 if level == "warn" else 2)
    assert "redis connection" not in found


def test_the_report_for_a_person_fits_a_terminal(patient: Patient) -> None:
    run = subprocess.run(
        ["routemq", "doctor", "--no-probe"], cwd=patient.project,
        env=clean_environment(patient.environment | {"COLUMNS": "80"}), capture_output=True, encoding="utf-8",
        check=False,
    )  # fmt: skip
    assert max(map(len, run.stdout.splitlines())) <= 80
    assert "0 fail" in run.stdout
