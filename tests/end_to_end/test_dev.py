"""`routemq dev` as its user sees it: one command, everything runs, and nothing is left."""

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.processes import RunningProcess, clean_environment, running, wait_until
from tests.servers import HOST, REPOSITORY, MqttBroker, Stack, free_port

ROUTER = """
from app.controllers.sensor_controller import SensorController
from routemq import Router

router = Router()
router.on("sensors/{device_id}/data", SensorController.process_data, shared=True)
"""
SLEEPER = """
import time
from routemq import Router

def sleep(device_id):
    print("sleeping", flush=True)
    time.sleep(50)

router = Router()
router.on("sensors/{device_id}/data", sleep, shared=True)
"""
IN_NO_WORKER = """
import sys

if "worker" in sys.argv:
    raise RuntimeError("not in a worker")
"""
ONLY_PYTHON = str(Path(sys.executable).parent)
"""A PATH without mosquitto and redis-server."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The sample application, cut down to one queue."""
    folder = tmp_path / "project"
    shutil.copytree(REPOSITORY / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "app" / "routers" / "flaky.py").unlink()
    (folder / "app" / "routers" / "sensors.py").write_text(ROUTER, encoding="utf-8")
    return folder


class Dev:
    """A `routemq dev` that runs."""

    def __init__(self, process: RunningProcess, project: Path, mqtt_port: int) -> None:
        self.process, self.project = process, project
        self.broker = MqttBroker(directory=project, port=mqtt_port)
        self.children = psutil.Process(process.pid).children(recursive=True)

    def publish(self, device: str, payload: str = '{"temperature": 21.5}') -> None:
        self.broker.publish(f"sensors/{device}/data", payload)

    def readings(self) -> set[str]:
        with contextlib.closing(sqlite3.connect(self.project / "sample.sqlite3", timeout=10)) as database:
            return {device for (device,) in database.execute("SELECT device_id FROM readings")}

    def wait_for_reading(self, device: str) -> None:
        wait_until(
            lambda: device in self.readings(),
            message=f"the reading of {device} is in the database",
            ignoring=(sqlite3.OperationalError,),
        )

    def left_over(self) -> list[psutil.Process]:
        return [child for child in self.children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def ingest_of(process: RunningProcess) -> list[int]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child.pid for child in children if "ingest" in child.cmdline()]


@contextlib.contextmanager
def dev(project: Path, *options: str, **env: str) -> Iterator[Dev]:
    port = free_port()
    argv = ["routemq", "dev", "--no-flower", "--mqtt-port", str(port), "--redis-port", str(free_port()), *options]
    with running(argv, cwd=project, env=env) as process:
        process.wait_for_output("Ctrl-C stops all of it")
        yield Dev(process, project, port)


def dev_that_ends(project: Path) -> subprocess.CompletedProcess[str]:
    """Run `routemq dev` where it cannot start."""
    return subprocess.run(
        ["routemq", "dev"],
        cwd=project,
        env=clean_environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_message_runs_its_controller_code_is_reloaded_and_ctrl_c_leaves_nothing(project: Path) -> None:
    controller = project / "app" / "controllers" / "sensor_controller.py"
    good = controller.read_text("utf-8")
    with dev(project, PATH=ONLY_PYTHON) as running_dev:
        process = running_dev.process
        assert "(embedded)" in process.output()
        assert "(Valkey)" in process.output()
        running_dev.publish("first")
        running_dev.wait_for_reading("first")

        ingest = ingest_of(process)
        controller.write_text(good + IN_NO_WORKER, encoding="utf-8")
        process.wait_for_output("RuntimeError: not in a worker")
        # Saved while the reload before waits for a worker that cannot start.
        controller.write_text(good + "\nimport nowhere_yet\n", encoding="utf-8")
        process.wait_for_output("Correct it and save.")
        assert "nowhere_yet" in process.output()
        controller.write_text(
            good.replace("message.id, device_id,", "message.id, device_id.upper(),"), encoding="utf-8"
        )
        process.wait_for_output("reloaded in")
        assert ingest_of(process) == ingest
        running_dev.publish("second")
        running_dev.wait_for_reading("SECOND")

        controller.write_text(good + "\nimport nowhere_to_be_found\n", encoding="utf-8")
        process.wait_for_output("The code from before goes on running.")
        assert "nowhere_to_be_found" in process.output()
        running_dev.publish("third")
        running_dev.wait_for_reading("THIRD")

        another = dev_that_ends(project)
        assert another.returncode == 1
        assert str(process.pid) in another.stderr

        running_dev.children = psutil.Process(process.pid).children(recursive=True)
        process.signal(signal.SIGINT)
        assert process.wait() == 0
        assert running_dev.left_over() == []
    assert {path.name for path in (project / ".routemq").iterdir()} == {".gitignore", "lock", "valkey"}


def test_what_waits_is_there_at_the_next_start_and_sigkill_leaves_nothing(project: Path) -> None:
    with dev(project) as first:
        assert "(Mosquitto)" in first.process.output()
        assert "(Redis)" in first.process.output()
        first.publish("broken", '{"temperature": "warm"}')
        first.process.wait_for_output("is dead, reason invalid")
        first.process.wait_for_output("routemq dlq show ")
        first.process.kill()
        wait_until(lambda: first.left_over() == [], message="the guardian has ended everything")
    port = free_port()
    argv = ["routemq", "dev", "--no-flower", "--redis-port", str(port), "--mqtt-port", str(free_port())]
    with running(argv, cwd=project) as second:
        second.wait_for_output("Ctrl-C stops all of it")
        listed = subprocess.run(
            ["routemq", "dlq", "list", "--json"],
            cwd=project, env=clean_environment({"REDIS_URL": f"redis://{HOST}:{port}/0"}),
            capture_output=True, encoding="utf-8", check=True,
        )  # fmt: skip
        assert "sensors/broken/data" in listed.stdout


def test_second_ctrl_c_kills_what_does_not_end(project: Path) -> None:
    (project / "app" / "routers" / "sensors.py").write_text(SLEEPER, encoding="utf-8")
    with dev(project) as running_dev:
        running_dev.publish("one")
        running_dev.process.wait_for_output("sleeping")
        running_dev.children = psutil.Process(running_dev.process.pid).children(recursive=True)
        running_dev.process.signal(signal.SIGINT)
        running_dev.process.wait_for_output("Ctrl-C again kills")
        running_dev.process.signal(signal.SIGINT)
        running_dev.process.wait()
        assert running_dev.left_over() == []


def test_configured_servers_are_used_and_none_is_brought_along(
    project: Path, stack: Stack, key_prefix: str, group_name: str
) -> None:
    env = stack.environment(key_prefix=key_prefix, group=group_name)
    with running(["routemq", "dev", "--no-flower"], cwd=project, env=env) as process:
        output = process.wait_for_output("Ctrl-C stops all of it")
        assert f"{stack.broker.host}:{stack.broker.port} (MQTT_BROKER)" in output
        assert "the one of REDIS_URL" in output
        stack.broker.publish("sensors/configured/data", '{"temperature": 1}')
        Dev(process, project, stack.broker.port).wait_for_reading("configured")


@pytest.mark.parametrize("variable", ["MQTT_BROKER", "REDIS_URL"])
def test_configured_server_that_is_not_there_is_named(project: Path, variable: str) -> None:
    port = free_port()
    env = {"MQTT_BROKER": HOST, "MQTT_PORT": str(port)} if variable == "MQTT_BROKER" else {}
    if variable == "REDIS_URL":
        env = {"REDIS_URL": f"redis://:secret@{HOST}:{port}/0"}
    run = subprocess.run(
        ["routemq", "dev"],
        cwd=project,
        env=clean_environment(env),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 2
    assert variable in run.stderr
    assert "refused" in run.stderr
    assert "secret" not in run.stderr


def test_port_that_is_taken_is_refused_when_it_was_asked_for(project: Path, stack: Stack) -> None:
    run = subprocess.run(
        ["routemq", "dev", "--mqtt-port", str(stack.broker.port)],
        cwd=project, env=clean_environment(), capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert f"port {stack.broker.port} is in use" in run.stderr


def test_broken_application_is_shown_before_anything_is_started(project: Path) -> None:
    (project / "app" / "routers" / "sensors.py").write_text("import nowhere_to_be_found\n", encoding="utf-8")
    run = dev_that_ends(project)
    assert run.returncode == 1
    assert run.stderr.startswith("Error: routers app.routers.sensors: importing it failed: ")
    assert "nowhere_to_be_found" in run.stderr
    assert {path.name for path in (project / ".routemq").iterdir()} == {".gitignore", "lock"}
