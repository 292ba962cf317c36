"""Files of a project that declare routes which nobody serves, for they lie outside its package of routers."""

import ast
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def stray_routers(project: Path, served: Iterable[str]) -> list[str]:
    """Return the files, relative to the project, whose own routers have routes, none of which is served.

    Args:
        served: Where each route that is served was declared, `file:line`.
    """
    known = {source.rpartition(":")[0] for source in served}
    return sorted(
        name
        for path in _files(project)
        if (name := str(path.relative_to(project))) not in known and _declares_routes(path)
    )


def _files(project: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(project):
        # What is no package is none of the application's: environments, builds, benchmarks, programs of their own.
        folders[:] = [name for name in folders if name != "tests" and Path(folder, name, "__init__.py").exists()]
        yield from (Path(folder, name) for name in names if name.endswith(".py"))


def _declares_routes(path: Path) -> bool:
    try:
        text = path.read_text("utf-8")
        # Parsing every file of a large project would take its time.
        tree = ast.parse(text) if "Router" in text and "routemq" in text else ast.Module([], [])
    except (OSError, ValueError, SyntaxError, RecursionError):
        return False
    made = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_router(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("on", "group")
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in made
        for node in ast.walk(tree)
    )


def _is_router(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and (getattr(node.func, "id", "") or getattr(node.func, "attr", "")) == "Router"
