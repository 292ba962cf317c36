"""Find the application's routers: every `router` in the modules of one package."""

import pkgutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Literal

from routemq.errors import DiscoveryError, NamedCodeError, RouteMQError
from routemq.named_code import imported
from routemq.routing import Router

_What = Literal["routers", "tasks"]
_SETTINGS: dict[_What, str] = {
    "routers": "ROUTEMQ_ROUTERS to the package of its routers",
    "tasks": "ROUTEMQ_TASKS to the modules of its Celery tasks",
}


def load_router(routers: str = "app.routers") -> Router:
    """Import a package, or a module, and join the routers it defines.

    The working directory is put on the import path, as Celery does. Modules are imported in the order of their names.

    Args:
        routers: Dotted name. Of a package, every module under it is imported; each has a `Router` under any name.

    Raises:
        DiscoveryError: There is no such package, another one hides it, it has no router, or a module of it fails to
            import.
        RouteError: A route cannot be made, or two of them clash.
    """
    _refuse_hidden(routers.partition(".")[0])
    joined = Router()
    seen: set[int] = set()
    for module in _with_all_under(routers):
        for value in vars(module).values():
            # Of the type alone: to ask a proxy, as Celery's of a task, what it stands for may make that too early.
            if issubclass(type(value), Router) and id(value) not in seen:
                seen.add(id(value))
                joined.include(value)
    if not seen:
        raise DiscoveryError(
            module=routers, problem="no module of it has a router", mend="write `router = Router()` and `router.on(…)`"
        )
    return joined


def import_tasks(modules: Iterable[str]) -> None:
    """Import the modules that define Celery tasks of the application's own.

    Raises:
        DiscoveryError: One of them is not there, or fails to import.
    """
    for name in modules:
        _import(name, what="tasks")


def _refuse_hidden(package: str) -> None:
    """Python prefers a package that has an `__init__.py`, wherever it is, to a folder without one in the project.

    Raises:
        DiscoveryError: An installed package of the same name would be run instead of the project's folder.
    """
    folder = Path.cwd() / package
    if not _is(Path.is_dir, folder) or _is(Path.exists, folder / "__init__.py"):
        return
    found = _import(package)
    if found.__file__ is not None:
        raise DiscoveryError(
            module=package,
            problem=f"the folder {folder} is hidden by {found.__file__}",
            mend=f"put an empty file __init__.py into {package}/",
        )


def _with_all_under(name: str) -> Iterator[ModuleType]:
    module = _import(name)
    yield module
    # Not by its attributes: a module may have a `__getattr__`, or an object of another kind in its place.
    under = pkgutil.iter_modules(vars(module).get("__path__", ()), f"{name}.")
    for each in sorted(found.name for found in under):
        yield from _with_all_under(each)


def _import(name: str, *, what: _What = "routers") -> ModuleType:
    try:
        return imported(name)
    except NamedCodeError as exc:
        cause = exc.__cause__
        if isinstance(cause, RouteMQError):
            raise cause from cause.__cause__  # it says itself where and what
        if isinstance(cause, ModuleNotFoundError) and cause.name and f"{name}.".startswith(f"{cause.name}."):
            raise DiscoveryError(
                module=name,
                problem=f"there is no module {cause.name!r} in {Path.cwd()} or on the Python path",
                mend=_where_it_is(name) or f"run the command in the project's folder, or set {_SETTINGS[what]}",
                what=what,
            ) from cause
        raise DiscoveryError(module=name, problem=exc.problem, mend=exc.mend, what=what) from cause


def _where_it_is(name: str) -> str | None:
    """Return what to do about a module that lies above the working directory, or in its `src`."""
    here, path = Path.cwd(), Path(*name.split("."))
    for folder in (*here.parents, here / "src"):
        if _is(Path.is_dir, folder / path) or _is(Path.is_file, (folder / path).with_suffix(".py")):
            return (
                f"install the project (pip install -e .), or set PYTHONPATH=src: it is in {folder}"
                if folder.parent == here
                else f"run the command in {folder}, where it is"
            )
    return None


def _is(what: Callable[[Path], bool], path: Path) -> bool:
    # Where this user may not look, there is nothing for Python to import either.
    try:
        return what(path)
    except OSError:
        return False
