"""`routemq routes`: every route, for people and for programs."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.processes import clean_environment
from tests.servers import REPOSITORY

CONTROLLERS = "def handle(device_id): ...\n"
ROUTES = """
from routemq import Router
from shop.controllers import handle

router = Router()
router.on("doors/{device_id}/[bold]", handle, shared=True, worker_count=4, qos=0)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shop" / "routers").mkdir(parents=True)
    (tmp_path / "shop" / "controllers.py").write_text(CONTROLLERS, encoding="utf-8")
    (tmp_path / "shop" / "routers" / "doors.py").write_text(ROUTES, encoding="utf-8")
    return tmp_path


def routes(folder: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    # Nobody answers there.
    env["REDIS_URL"] = "redis://127.0.0.1:1"
    return subprocess.run(
        ["routemq", "routes", *options], cwd=folder, env=clean_environment(env), capture_output=True, encoding="utf-8",
        check=False,
    )  # fmt: skip


def test_json_names_everything_about_a_route(project: Path) -> None:
    run = routes(project, "--json", ROUTEMQ_ROUTERS="shop.routers")
    assert json.loads(run.stdout) == [
        {
            "name": "doors/{device_id}/[bold]",
            "template": "doors/{device_id}/[bold]",
            "filter": "doors/+/[bold]",
            "queue": "doors.[bold]",
            "qos": 0,
            "shared": True,
            "worker_count": 4,
            "batch": None,
            "max_attempts": 3,
            "base_delay_s": 1.0,
            "max_delay_s": 300.0,
            "never": [],
            "timeout_s": None,
            "middleware": [],
            "controller": "shop.controllers:handle",
            "source": "shop/routers/doors.py:6",
            "paused": None,
            "example": None,
            "example_topic": None,
        }
    ]


def test_table_is_a_line_for_each_route_of_the_sample_application() -> None:
    lines = routes(REPOSITORY).stdout.splitlines()
    first = ["template", "filter", "queue", "qos", "shared", "worker_count"]
    assert lines[0].split() == [*first, "batch", "controller", "runs", "timeout", "middleware"]
    assert [line.split()[-6:] for line in lines if line.startswith("plants/")] == [
        ["5,", "after", "1…8", "s", "-", "Audit"]
    ]
    assert [line.split()[:6] for line in lines if line.startswith("sensors/")] == [
        ["sensors/{device_id}/data", "sensors/+/data", "sensors.data", "1", "yes", "3"]
    ]


def test_batches_are_shown_and_whether_a_middleware_keeps_messages_apart(project: Path) -> None:
    router = project / "shop" / "routers" / "doors.py"
    text = router.read_text(encoding="utf-8").replace("import Router", "import Batch, Middleware, Router")
    apart = 'router.on("apart/{device_id}", lambda device_id: None, batch=Batch(), middleware=[Apart()])\n'
    router.write_text(
        text.replace("qos=0", "batch=Batch(max_messages=500)")
        + "class Apart(Middleware):\n    def handle(self, context, next_handler): ...\n"
        + apart,
        encoding="utf-8",
    )
    heading, first, second = routes(project, ROUTEMQ_ROUTERS="shop.routers").stdout.splitlines()
    assert heading.split()[6:8] == ["batch", "controller"]
    assert first.split()[6] == "500"
    assert "  one by one  " in second
    found = json.loads(routes(project, "--json", ROUTEMQ_ROUTERS="shop.routers").stdout)[0]["batch"]
    assert found == {"max_messages": 500, "max_wait_s": 0.2, "max_bytes": 1_000_000, "gathers": True}


def test_brackets_of_a_topic_are_text(project: Path) -> None:
    assert "doors/{device_id}/[bold]" in routes(project, ROUTEMQ_ROUTERS="shop.routers").stdout


def test_broken_router_is_named_in_one_line(project: Path) -> None:
    (project / "shop" / "controllers.py").write_text("import nowhere_to_be_found\n", encoding="utf-8")
    run = routes(project, ROUTEMQ_ROUTERS="shop.routers")
    assert run.returncode == 1
    assert "shop.routers.doors" in run.stderr
    assert "nowhere_to_be_found" in run.stderr
    assert "Traceback" not in run.stderr


def test_folder_without_an_application_says_what_to_do(tmp_path: Path) -> None:
    run = routes(tmp_path, ROUTEMQ_ROUTERS="nowhere.routers")
    assert run.returncode == 1
    assert "ROUTEMQ_ROUTERS" in run.stderr
