"""What an application wants done as a worker's process begins, and undone as it ends."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from routemq.controllers import controller_name
from routemq.errors import WorkerStartError

Hook = Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStart:
    """One hook of `Router.on_worker_start`.

    Attributes:
        function: Takes nothing. It returns None or what closes, or yields once and closes after that; sync or async.
        source: Where it was declared, `file:line`.
    """

    function: Hook
    source: str

    @property
    def name(self) -> str:
        """The function's name, `pkg.module:function`."""
        return controller_name(self.function)


def worker_start(function: Hook, source: str) -> WorkerStart:
    """Return a hook that can be called.

    Raises:
        WorkerStartError: It is no function, or it asks for arguments.
    """
    hook = WorkerStart(function=function, source=source)
    if not callable(function):
        raise WorkerStartError(
            source=source,
            hook=repr(function),
            problem="it is not callable",
            mend="write @router.on_worker_start, without ()",
        )
    if asked := asked_for(function):
        raise WorkerStartError(
            source=source,
            hook=hook.name,
            problem=f"it asks for {', '.join(asked)}, and is given nothing",
            mend="let it take no arguments; a method is given with its instance, as `on_worker_start(database.open)`",
        )
    return hook


def asked_for(function: Callable[..., Any]) -> list[str]:
    """Return the arguments without which a function cannot be called; none of one that does not tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
