"""Which package may import which: the core knows no service, the services meet in it, and there are no circles."""

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
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

ROOMS = {
    "routemq_transport.fetching": {"kombu", "celery", "billiard"},
    "routemq_transport.holding": {"kombu", "celery", "billiard", "routemq_transport.fetching"},
    "routemq_ingest.flow": {"paho", "socket", "select"},
    "routemq_ingest.reconnection": {"paho", "redis", "socket", "select"},
    "routemq_ingest.overlaps": {"paho", "redis", "socket", "select"},
    "routemq_ingest.statistics": {"paho", "redis", "socket", "select"},
}
"""What a part of a package may not import, of ours or of others'."""

NEVER = {"app", "ingest", "tasks", "dev", "ops", "tests", "benchmarks"}


def modules(package: str) -> list[Path]:
    return sorted((REPOSITORY / FOLDERS[package]).rglob("*.py"))


def is_front_door(path: Path) -> bool:
    """The doors of the core compose everything, so they may reach the services."""
    relative = path.relative_to(REPOSITORY)
    return relative in (Path("routemq/celery.py"), Path("routemq/script.py")) or any(
        map(relative.is_relative_to, ("routemq/cli", "routemq/testing"))
    )


def imported_names(source: str) -> Iterator[str]:
    """Everything that is imported, wherever the statement stands, also late by the name of a module in a text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            yield from (
                argument.value
                for argument in node.args
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            )


@cache
def all_modules() -> dict[str, Path]:
    found = {}
    for package, folder in FOLDERS.items():
        for path in modules(package):
            *parts, last = (package, *path.relative_to(REPOSITORY / folder).with_suffix("").parts)
            found[".".join(parts if last == "__init__" else [*parts, last])] = path
    return found


def needed_modules(source: str, known: Collection[str]) -> set[str]:
    """Return the modules of ours that one imports, wherever and whatever for; not the packages they are in."""
    needed = set()
    for name in imported_names(source):
        module = name
        while module and module not in known:
            module = module.rpartition(".")[0]
        needed.add(module)
    return needed - {""}


def is_in(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


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


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_what_it_may(room: str) -> None:
    inside = {name: path for name, path in all_modules().items() if is_in(name, {room})}
    assert inside
    broken = {
        name: sorted(found)
        for name, path in inside.items()
        if (found := {each for each in imported_names(path.read_text("utf-8")) if is_in(each, ROOMS[room])})
    }
    assert broken == {}


def test_no_module_imports_itself_by_way_of_others_not_even_for_its_types() -> None:
    known = all_modules()
    graph = {name: needed_modules(path.read_text("utf-8"), known) - {name} for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        pytest.fail(" → ".join(exc.args[1]))


ONLY_WHERE_TRACES_ARE_MADE = ("opentelemetry", "sentry_sdk")
MAKE_TRACES = {
    "routemq/tracing/tracer_provider.py",
    "ingest/routemq_ingest/receipts.py",
    "tasks/routemq_tasks/run_spans.py",
}


def test_what_is_not_in_the_base_installation_is_imported_only_where_it_is_asked_for() -> None:
    of_ours = {"routemq.tracing.tracer_provider", "routemq_ingest.receipts", "routemq_tasks.run_spans"}
    using, early = set(), {}
    for package in FOLDERS:
        for path in modules(package):
            name = str(path.relative_to(REPOSITORY))
            source = path.read_text("utf-8")
            if any(each.startswith(ONLY_WHERE_TRACES_ARE_MADE) for each in imported_names(source)):
                using.add(name)
            at_once = ast.unparse(ast.Module([node for node in ast.parse(source).body if is_import(node)], []))
            if name not in MAKE_TRACES and (
                found := {each for each in imported_names(at_once) if is_in(each, of_ours)}
            ):
                early[name] = found
    assert using - MAKE_TRACES == {"routemq/tracing/start_tracing.py"}  # for its types alone
    assert early == {}


def is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_no_package_is_called_like_a_module_of_the_users() -> None:
    assert [name for name in ("ingest", "tasks", "dev", "ops") if (REPOSITORY / name / "__init__.py").exists()] == []


@pytest.mark.parametrize(
    "source",
    [
        "import routemq_tasks.app",
        "from routemq_tasks import app",
        "from routemq_tasks.app import RouteMQCelery",
        "if TYPE_CHECKING:\n    from routemq_tasks.app import RouteMQCelery",
        "def late():\n    from routemq_tasks.app import make_app",
        "importlib.import_module('routemq_tasks.app')",
    ],
)
def test_every_way_to_import_is_seen(source: str) -> None:
    assert {name.partition(".")[0] for name in imported_names(source)} == {"routemq_tasks"}
    assert needed_modules(source, all_modules()) == {"routemq_tasks.app"}


def test_what_talks_to_redis_alone_loads_no_mqtt() -> None:
    program = (
        "import sys, pkgutil, importlib, routemq.cli.dlq as dlq\n"
        "for each in pkgutil.iter_modules(dlq.__path__): importlib.import_module(f'routemq.cli.dlq.{each.name}')\n"
        "print([name for name in sys.modules if name.startswith('paho')])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert ran.stdout.strip() == "[]"
