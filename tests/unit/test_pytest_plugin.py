import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGIN = "routemq.testing.pytest_plugin"

HEAVY = ("celery", "kombu", "redis", "paho", "pydantic", "flower", "routemq.routing", "routemq.testing.rehearsal")


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest as a project of its own would, with our plugin and no other."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", PLUGIN, "-W", "error", "-p", "no:cacheprovider", *arguments],
        cwd=folder, env=environment | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"routemq": PLUGIN}
    assert import_module(PLUGIN)


def test_who_does_not_use_the_plugin_pays_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        f"import sys\n\ndef test_nothing_came_along():\n    assert not set(sys.modules) & {set(HEAVY)!r}\n",
        encoding="utf-8",
    )
    run = pytest_in(tmp_path)
    assert "1 passed" in run.stdout, run.stdout + run.stderr


def test_its_fixtures_deliver_to_the_projects_routes_or_to_a_tests_own(tmp_path: Path) -> None:
    routers = tmp_path / "app" / "routers"
    routers.mkdir(parents=True)
    (routers.parent / "__init__.py").touch()
    (routers / "doors.py").write_text(
        "from routemq import Client, Router\n\n\ndef opened(door: str, client: Client) -> None:\n"
        "    client.publish(f'lights/{door}', 'on', qos=1)\n\n\nrouter = Router()\nrouter.on('doors/{door}', opened)\n",
        encoding="utf-8",
    )
    (tmp_path / "test_doors.py").write_text(
        "import pytest\nfrom routemq import Router\n\n\n"
        "def test_a_door(routemq_deliver):\n"
        "    assert routemq_deliver('doors/1').check().published[0].topic == 'lights/1'\n\n\n"
        "class TestOther:\n"
        "    @pytest.fixture\n"
        "    def routemq_router(self):\n"
        "        router = Router()\n"
        "        router.on('windows/{window}', lambda window: 1 / 0)\n"
        "        return router\n\n"
        "    def test_a_window(self, routemq_deliver):\n"
        "        assert isinstance(routemq_deliver('windows/1').error, ZeroDivisionError)\n",
        encoding="utf-8",
    )
    run = pytest_in(tmp_path)
    assert "2 passed" in run.stdout, run.stdout + run.stderr
