"""`routemq up`: one host under one supervisor, as an operator or systemd sees it."""

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.processes import RunningProcess, running, wait_until
from tests.servers import Mosquitto, Redis, Stack
from tests.systemd import Systemd

ROUTES = """
import pathlib, time
from routemq import Router

def quick(device):
    pathlib.Path(f"{device}.txt").touch()

def slow(device):
    pathlib.Path(f"{device}.began").touch()
    time.sleep(3)
    pathlib.Path(f"{device}.txt").touch()

router = Router()
router.on("PREFIX/quick/{device}", quick, shared=True, worker_count=2, queue="quick")
router.on("PREFIX/slow/{device}", slow, shared=True, queue="slow")
"""


@pytest.fixture
def stack(mosquitto_server: Mosquitto, redis_server: Redis) -> Stack:
    return Stack(name="mosquitto+redis", broker=mosquitto_server, store=redis_server)


@pytest.fixture
def project(tmp_path: Path, topic_prefix: str) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    (tmp_path / "app" / "routers.py").write_text(ROUTES.replace("PREFIX", topic_prefix), encoding="utf-8")
    return tmp_path


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def named(process: RunningProcess, part: str) -> psutil.Process:
    children = psutil.Process(process.pid).children(recursive=True)
    return next(child for child in children if part in " ".join(child.cmdline()))


def test_all_of_a_host_runs_tells_systemd_restarts_what_dies_and_finishes_what_it_runs(
    stack: Stack, project: Path, systemd: Systemd, key_prefix: str, group_name: str, topic_prefix: str
) -> None:
    env = stack.environment(key_prefix=key_prefix, group=group_name)
    env |= systemd.environment
    argv = [sys.executable, "-m", "routemq", "up", "--workers", "4", "--pool", "threads"]
    with running(argv, cwd=project, env=env) as process:
        systemd.hear(b"READY=1\nSTATUS=3 processes")
        systemd.hear(b"WATCHDOG=1")
        output = process.output()
        assert "worker quick:" in output
        assert "ingest 0:" in output
        stack.broker.publish(f"{topic_prefix}/quick/d1", "{}")
        wait_until((project / "d1.txt").exists, message="the controller has run")

        worker = named(process, "quick@")
        worker.kill()
        process.wait_for_output("process died name=worker quick")
        stack.broker.publish(f"{topic_prefix}/quick/d2", "{}")
        wait_until((project / "d2.txt").exists, message="the new worker has run the next one")

        stack.broker.publish(f"{topic_prefix}/slow/s1", "{}")
        wait_until((project / "s1.began").exists, message="the slow one has begun")
        family = psutil.Process(process.pid).children(recursive=True)
        assert process.terminate() == 0
        assert (project / "s1.txt").exists()
        assert [child for child in family if not is_gone(child)] == []
        assert process.output().index("ingest has ended") < process.output().index("Warm shutdown")
        systemd.hear(b"STOPPING=1")


def test_sigkill_of_the_supervisor_leaves_no_orphan(
    stack: Stack, project: Path, key_prefix: str, group_name: str
) -> None:
    env = stack.environment(key_prefix=key_prefix, group=group_name)
    with running(["routemq", "up", "--pool", "solo"], cwd=project, env=env) as process:
        process.wait_for_output("everything is ready")
        family = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: all(map(is_gone, family)), message="all of them have ended")


def test_what_dies_again_and_again_ends_all_of_it_with_its_last_words(
    stack: Stack, project: Path, key_prefix: str, group_name: str
) -> None:
    env = stack.environment(key_prefix=key_prefix, group=group_name)
    # The supervisor finds nothing wrong with it.
    with (project / "app" / "routers.py").open("a", encoding="utf-8") as routers:
        routers.write("\nimport sys\nif 'worker' in sys.argv:\n    sys.exit('no worker begins here')\n")
    with running(["routemq", "up"], cwd=project, env=env) as process:
        assert process.wait() == 1
        output = process.output()
        assert "died 5 times in" in output
        assert "no worker begins here" in output.partition("Its last words:")[2]
