"""The core knows no service, and the two services do not know each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = {"routemq": "routemq", "routemq_ingest": "ingest/routemq_ingest", "routemq_tasks": "tasks/routemq_tasks"}
SERVICES = {"routemq_ingest", "routemq_tasks"}


def modules(package: str) -> list[Path]:
    return sorted((REPOSITORY / FOLDERS[package]).rglob("*.py"))


def is_front_door(path: Path) -> bool:
    """The two doors of the core compose everything, so they may reach the services."""
    relative = path.relative_to(REPOSITORY)
    return relative == Path("routemq/celery.py") or relative.is_relative_to("routemq/cli")


def imported_names(source: str) -> Iterator[str]:
    """Every module that is imported, wherever the statement stands, and every text that names one for a late import."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            yield from (
                argument.value
                for argument in node.args
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            )


def top_level_imports(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported_names(path.read_text())}


def test_there_is_code_to_read() -> None:
    assert all(modules(package) for package in FOLDERS)


@pytest.mark.parametrize("path", [p for p in modules("routemq") if not is_front_door(p)], ids=lambda p: p.stem)
def test_core_imports_no_service(path: Path) -> None:
    assert not top_level_imports(path) & {*SERVICES, "app", "ingest", "tasks"}


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_services_meet_only_in_the_core(service: str) -> None:
    others = (SERVICES - {service}) | {"app", "ingest", "tasks"}
    assert {path.name: sorted(found) for path in modules(service) if (found := top_level_imports(path) & others)} == {}


def test_no_package_is_called_like_a_module_of_the_users() -> None:
    assert not (REPOSITORY / "ingest" / "__init__.py").exists()
    assert not (REPOSITORY / "tasks" / "__init__.py").exists()


@pytest.mark.parametrize(
    "source",
    [
        "import routemq_tasks.app",
        "from routemq_tasks import app",
        "def late():\n    from routemq_tasks.app import make_app",
        "importlib.import_module('routemq_tasks.app')",
    ],
)
def test_every_way_to_import_is_seen(source: str) -> None:
    assert {name.partition(".")[0] for name in imported_names(source)} == {"routemq_tasks"}
