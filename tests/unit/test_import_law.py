"""Which package may import which: the core knows no service, and the services meet only in the core."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = {
    "routemq": "routemq",
    "routemq_ingest": "ingest/routemq_ingest",
    "routemq_transport": "tasks/routemq_transport",
    "routemq_tasks": "tasks/routemq_tasks",
    "routemq_flower": "tasks/routemq_flower",
    "routemq_dev": "dev/routemq_dev",
    "routemq_ops": "ops/routemq_ops",
}
LAW = {
    "routemq": set[str](),
    "routemq_ingest": {"routemq"},
    "routemq_transport": {"routemq"},
    "routemq_tasks": {"routemq", "routemq_transport"},
    "routemq_flower": {"routemq"},
    "routemq_dev": {"routemq"},
    "routemq_ops": {"routemq"},
}
"""What each package may import of ours."""

NEVER = {"app", "ingest", "tasks", "dev", "ops", "tests", "benchmarks"}


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
    return {name.partition(".")[0] for name in imported_names(path.read_text("utf-8"))}


def test_there_is_code_to_read() -> None:
    assert all(modules(package) for package in FOLDERS)


@pytest.mark.parametrize("package", sorted(LAW))
def test_a_package_imports_only_what_the_law_allows(package: str) -> None:
    forbidden = (set(LAW) - LAW[package] - {package}) | NEVER
    broken = {
        str(path.relative_to(REPOSITORY)): sorted(found)
        for path in modules(package)
        if not is_front_door(path) and (found := top_level_imports(path) & forbidden)
    }
    assert broken == {}


def test_no_package_is_called_like_a_module_of_the_users() -> None:
    assert [name for name in ("ingest", "tasks", "dev", "ops") if (REPOSITORY / name / "__init__.py").exists()] == []


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
