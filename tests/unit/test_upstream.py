"""Upstream's private names live in two rooms, each is listed with its reason, and the installed releases have them."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import pytest
from routemq_tasks.upstream import NAMES as TASKS
from routemq_transport.upstream import NAMES as TRANSPORT

UPSTREAM = ("kombu", "celery", "billiard", "redis")
ROOMS = {"routemq_transport": TRANSPORT, "routemq_tasks": TASKS}
LISTED = [
    pytest.param(place, name, why, id=f"{place} {name.partition('(')[0]}")
    for names in ROOMS.values()
    for place, entries in names.items()
    for name, why in entries.items()
]


@pytest.mark.parametrize(("place", "name", "why"), LISTED)
def test_the_installed_release_has_what_is_relied_on(place: str, name: str, why: str) -> None:
    module, _, class_name = place.partition(":")
    plain, bracket, _ = name.partition("(")
    project = module.partition(".")[0]
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
    used = {name for module in _modules(f"{package}.upstream") for name in _private_names(module)}
    listed = {name.partition("(")[0] for names in ROOMS[package].values() for name in names}
    assert used == {name for name in listed if name.startswith("_")}


@pytest.mark.parametrize("package", ROOMS)
def test_nothing_of_it_is_used_elsewhere(package: str) -> None:
    outside = [module for module in _modules(package) if not module.startswith(f"{package}.upstream")]
    assert len(outside) > 10
    assert {module: names for module in outside if (names := _private_names(module))} == {}


def _parameters(method: Callable[..., Any]) -> str:
    empty = inspect.Parameter.empty
    parameters = inspect.signature(method).parameters.values()
    return ", ".join(str(each.replace(default=empty, annotation=empty)) for each in parameters)


def _modules(package: str) -> Iterator[str]:
    found = importlib.import_module(package)
    yield package
    for module in pkgutil.walk_packages(found.__path__, f"{package}."):
        yield module.name


def _private_names(module: str) -> set[str]:
    """Return upstream's private names in a module: what classes override or read of their bases, or it of others."""
    source, found = _source(module), set[str]()
    loaded = importlib.import_module(module)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and (bases := _upstream_bases(getattr(loaded, node.name, object))):
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


def _upstream_bases(loaded: type) -> list[type]:
    return [base for base in loaded.__mro__[1:] if base.__module__.partition(".")[0] in UPSTREAM]


def _source(module: str) -> str:
    return inspect.getsource(importlib.import_module(module))
