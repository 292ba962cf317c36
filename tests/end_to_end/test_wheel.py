"""The wheel, installed where its source is not: it works beside a user's own modules called tasks and ingest."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.processes import clean_environment, running, wait_until
from tests.servers import REPOSITORY, Mosquitto, Redis, Stack
from tests.unit.test_import_law import FOLDERS

TASKS = "BELONGS_TO = 'the user'\n"
CONTROLLERS = """
import pathlib
import ingest, tasks

def handle(device_id, payload):
    pathlib.Path(f"{device_id}.txt").write_text(f"{payload} {tasks.BELONGS_TO} {ingest.BELONGS_TO}")
"""


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment that has the wheel, and of everything else what this one has."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "docker-compose.yml"):
        shutil.copy2(REPOSITORY / name, source)
    for name in FOLDERS.values():
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=source, env=clean_environment(), check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    environment = folder / "venv"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", str(wheel)],
        check=True, capture_output=True,
    )  # fmt: skip
    site = next((environment / "lib").glob("python*")) / "site-packages"
    # A folder that a .pth names is searched, but its own .pth files are not read: this checkout does not come along.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    celery = environment / "bin" / "celery"
    celery.write_text(f"#!{python}\nimport sys\nfrom celery.__main__ import main\nsys.exit(main())\n", encoding="utf-8")
    celery.chmod(0o755)
    return environment / "bin"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's own folder, with modules of the names that Celery users choose."""
    (tmp_path / "app").mkdir()
    (tmp_path / "tasks.py").write_text(TASKS, encoding="utf-8")
    (tmp_path / "ingest.py").write_text(TASKS, encoding="utf-8")
    (tmp_path / "controllers.py").write_text(CONTROLLERS, encoding="utf-8")
    (tmp_path / "app" / "routers.py").write_text(
        "from routemq import Router\nfrom controllers import handle\n\n"
        "router = Router()\nrouter.on('wheel/{device_id}', handle, shared=True)\n",
        encoding="utf-8",
    )
    return tmp_path


def test_wheel_holds_every_script_and_page_that_the_packages_need(commands: Path) -> None:
    site = next((commands.parent / "lib").glob("python*")) / "site-packages"
    for package, folder in FOLDERS.items():
        source = {path.relative_to(REPOSITORY / folder) for path in (REPOSITORY / folder).rglob("*") if path.is_file()}
        wanted = {path for path in source if "__pycache__" not in path.parts}
        installed = {path.relative_to(site / package) for path in (site / package).rglob("*")}
        assert wanted - installed == set()


def test_installed_commands_work_beside_modules_called_tasks_and_ingest(
    commands: Path, project: Path, mosquitto_server: Mosquitto, redis_server: Redis, key_prefix: str, group_name: str
) -> None:
    stack = Stack(name="mosquitto+redis", broker=mosquitto_server, store=redis_server)
    path = os.pathsep.join([str(commands), os.environ["PATH"]])
    env = {**stack.environment(key_prefix=key_prefix, group=group_name), "PATH": path}

    def run(*command: str) -> str:
        ended = subprocess.run(
            [str(commands / command[0]), *command[1:]],
            cwd=project, env=clean_environment(env), capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    where = run("python", "-c", "import routemq, routemq_ingest, routemq_tasks; print(routemq.__file__)")
    assert Path(where.strip()).is_relative_to(commands.parent)
    (route,) = json.loads(run("routemq", "routes", "--json"))
    assert (route["template"], route["controller"]) == ("wheel/{device_id}", "controllers:handle")
    assert "wheel/{device_id}" in run("celery", "-A", "routemq", "routes")
    assert "task_acks_late: True" in run("celery", "-A", "routemq", "report")
    for form in ("kubernetes", "compose", "systemd"):
        assert "worker" in run("routemq", "manifests", "--format", form)
    worker = [str(commands / "celery"), "-A", "routemq", "worker", "-Q", "wheel", "-c", "1"]
    with (
        running([str(commands / "routemq"), "ingest"], cwd=project, env=env) as ingest,
        running(worker, cwd=project, env=env) as running_worker,
    ):
        ingest.wait_for_output("ingest is ready")
        running_worker.wait_for_output(" ready.")
        stack.broker.publish("wheel/d1", "hello")
        result = project / "d1.txt"
        wait_until(
            lambda: result.read_text("utf-8") == "hello the user the user",
            message="the controller has run",
            ignoring=(FileNotFoundError,),
        )
