"""What a newcomer does first: publish a reading, see it in SQLite; break one, find it, mend the code, replay it."""

import contextlib
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.processes import clean_environment, running, wait_until
from tests.servers import REPOSITORY, MqttBroker, Redis, Stack

WORKER = ["celery", "-A", "routemq", "worker", "-Q", "sensors"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The sample application, in a folder of the test's own."""
    shutil.copytree(REPOSITORY / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_reading_reaches_sqlite_and_a_broken_one_is_replayed_after_the_controller_is_mended(
    project: Path,
    own_broker: Callable[..., MqttBroker],
    redis_server: Redis,
    key_prefix: str,
    group_name: str,
) -> None:
    # The sample application's topics are anybody's, so the broker is this test's own.
    stack = Stack(name="mosquitto+redis", broker=own_broker("mosquitto", persistence=False), store=redis_server)
    env = stack.environment(key_prefix=key_prefix, group=group_name)

    def run(*command: str) -> str:
        ended = subprocess.run(
            command,
            cwd=project,
            env=clean_environment(env),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def readings() -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(project / "sample.sqlite3")) as database:
            return database.execute("SELECT device_id, temperature FROM readings ORDER BY temperature").fetchall()

    def dead_letters() -> list[dict[str, Any]]:
        return [json.loads(line) for line in run("routemq", "dlq", "list", "--json").splitlines()]

    with running(["routemq", "ingest"], cwd=project, env=env) as ingest:
        ingest.wait_for_output("ingest is ready")
        with running(WORKER, cwd=project, env=env) as worker:
            worker.wait_for_output(" ready.")
            (stats,) = json.loads(
                run("celery", "-A", "routemq", "inspect", "stats", "--json", "--timeout", "5")
            ).values()
            assert stats["pool"]["max-concurrency"] == 3

            stack.broker.publish("sensors/d1/data", '{"temperature": 21.5}')
            wait_until(
                lambda: readings() == [("d1", 21.5)],
                message="the reading is in SQLite",
                ignoring=(sqlite3.OperationalError,),
            )
            stack.broker.publish("sensors/d2/data", '{"temp": 19.25}')
            wait_until(dead_letters, message="the broken reading is among the dead letters")
        (letter,) = dead_letters()
        assert (letter["route"], letter["topic"], letter["reason"]) == (
            "sensors/{device_id}/data",
            "sensors/d2/data",
            "invalid",
        )
        assert "temperature: Field required" in json.dumps(letter)
        shown = run("routemq", "dlq", "list")
        assert "invalid" in shown
        assert "sensors/d2/data" in shown
        assert len(readings()) == 1

        controller = project / "app" / "controllers" / "sensor_controller.py"
        code = controller.read_text("utf-8")
        assert "temperature: float\n" in code
        mended = code.replace("temperature: float\n", 'temperature: float = Field(validation_alias="temp")\n')
        controller.write_text(mended.replace("import BaseModel", "import BaseModel, Field"), encoding="utf-8")
        run("routemq", "dlq", "replay", letter["id"])
        with running(WORKER, cwd=project, env=env) as worker:
            worker.wait_for_output(" ready.")
            wait_until(lambda: readings() == [("d2", 19.25), ("d1", 21.5)], message="the replayed reading is in SQLite")
        assert dead_letters() == []


def test_a_queue_that_no_route_uses_is_refused_with_the_queues_there_are(
    project: Path, redis_server: Redis, key_prefix: str
) -> None:
    env = {"REDIS_URL": redis_server.url, "ROUTEMQ_KEY_PREFIX": key_prefix}
    ended = subprocess.run(
        ["celery", "-A", "routemq", "worker", "-Q", "sensor"],
        cwd=project, env=clean_environment(env), capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert ended.returncode != 0
    assert "no route uses the queue 'sensor'" in ended.stderr
    assert "alerts, flaky, plants.lines.state, sensors.data, telemetry.bulk" in ended.stderr
    assert "Traceback" not in ended.stderr
