"""Upstream's private names live in one room of each package, each with its reason; the installed releases have them."""

import ast
import importlib
import inspect
import re
from collections.abc import Callable
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import pytest
from routemq_flower.upstream import NAMES as FLOWER
from routemq_ingest.upstream import NAMES as INGEST
from routemq_tasks.upstream import NAMES as TASKS
from routemq_transport.upstream import NAMES as TRANSPORT

from routemq.upstream import NAMES as CORE
from tests.unit.test_import_law import FOLDERS, all_modules, is_in

UPSTREAM = ("kombu", "celery", "billiard", "redis", "paho", "flower", "tornado", "opentelemetry", "sentry_sdk")
ROOMS = {
    "routemq": CORE,
    "routemq_ingest": INGEST,
    "routemq_transport": TRANSPORT,
    "routemq_tasks": TASKS,
    "routemq_flower": FLOWER,
}
LISTED = [
    pytest.param(place, name, why, id=f"{package}: {place} {name.partition('(')[0]}")
    for package, names in ROOMS.items()
    for place, entries in names.items()
    for name, why in entries.items()
]


@pytest.mark.parametrize(("place", "name", "why"), LISTED)
def test_the_installed_release_has_what_is_relied_on(place: str, name: str, why: str) -> None:
    module, _, class_name = place.partition(":")
    plain, bracket, _ = name.partition("(")
    (project,) = packages_distributions()[module.partition(".")[0]]
    moved = f"{project} {version(project)} has moved {place} {plain}, which matters: {why}"
    owner: Any = importlib.import_module(module)
    owner = getattr(owner, class_name, None) if class_name else owner
    assert owner is not None, moved
    if bracket:
        assert f"{plain}({_parameters(getattr(owner, plain, print))})" == name, moved
    else:
        # An attribute of the class, or one that its methods set.
        modules = {module, *(base.__module__ for base in getattr(owner, "__mro__", ())[:-1])}
        assert hasattr(owner, plain) or any(re.search(rf"\b{plain}\b", _source(each)) for each in modules), moved


@pytest.mark.parametrize("package", ROOMS)
def test_what_is_used_of_upstream_is_listed(package: str) -> None:
    used = {name for module in _modules(package) if _is_room(module) for name in _private_names(module)}
    listed = {name.partition("(")[0] for names in ROOMS[package].values() for name in names}
    assert used == {name for name in listed if name.startswith("_")}


@pytest.mark.parametrize("package", FOLDERS)
def test_nothing_of_it_is_used_elsewhere(package: str) -> None:
    outside = [module for module in _modules(package) if not _is_room(module)]
    assert len(outside) > 5
    assert {module: names for module in outside if (names := _private_names(module))} == {}


def _parameters(method: Callable[..., Any]) -> str:
    empty = inspect.Parameter.empty
    parameters = inspect.signature(method).parameters.values()
    return ", ".join(str(each.replace(default=empty, annotation=empty)) for each in parameters)


def _modules(package: str) -> dict[str, Path]:
    return {name: path for name, path in all_modules().items() if is_in(name, {package})}


def _is_room(module: str) -> bool:
    return "upstream" in module.split(".")


def _private_names(module: str) -> set[str]:
    """Return upstream's private names in a module: what classes override or read of their bases, or it of others."""
    source, found = all_modules()[module].read_text("utf-8"), set[str]()
    for node in ast.walk(ast.parse(source)):
        # Imported only for its classes: what runs when it is imported is a front door.
        if isinstance(node, ast.ClassDef) and (bases := _upstream_bases(module, node.name)):
            theirs = "\n".join(_source(base.__module__) for base in bases)
            # What is called so there, whoever has it: a name that means one thing here and another there misleads.
            found |= {name for name in _names(node) if re.search(rf"\b(\w+\.|def ){name}\b", theirs)}
    exempt = [line for line in source.splitlines() if "noqa: SLF001" in line]
    lines = source.splitlines() if any(line.startswith("# ruff: noqa: SLF001") for line in exempt) else exempt
    # What stands behind another object than our own.
    foreign = (re.findall(r"(?<!self)\.(_[a-z]\w*)", line.partition("#")[0]) for line in lines)
    return found.union(*foreign)


def _names(node: ast.ClassDef) -> set[str]:
    methods = {part.name for part in ast.walk(node) if isinstance(part, ast.FunctionDef)}
    attributes = {
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "self"
    }
    # Kombu's transport sets some on an object of ours, which declares them.
    declared = {
        part.target.id for part in node.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
    }
    return {name for name in methods | attributes | declared if re.match(r"_[a-zA-Z]", name)}


def _upstream_bases(module: str, name: str) -> list[type]:
    loaded: type = getattr(importlib.import_module(module), name, object)
    return [base for base in loaded.__mro__[1:] if base.__module__.partition(".")[0] in UPSTREAM]


def _source(module: str) -> str:
    return inspect.getsource(importlib.import_module(module))
