"""Controllers, exceptions, policies and hooks that do what nobody expects of them, by accident."""

import asyncio
import json
import linecache
import os
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

from celery import current_app, current_task
from celery.exceptions import Ignore
from celery.exceptions import Reject as CeleryReject

from routemq import Message, Retry, RetryPolicy, Router


class MuteError(Exception):
    """Has no text, no repr, no truth and no equal."""

    def _fail(self, *_args: object) -> NoReturn:
        raise RuntimeError("no words")

    __str__ = __repr__ = __bool__ = __eq__ = __hash__ = __len__ = _fail  # type: ignore[assignment]


class OddText(str):
    __slots__ = ()

    def _fail(self, *_args: object) -> NoReturn:
        raise RuntimeError("no text")

    split = encode = __format__ = splitlines = isprintable = _fail  # type: ignore[assignment]


class OddTextError(Exception):
    def __str__(self) -> str:
        return OddText("odd")


class UnpicklableError(Exception):
    def __reduce__(self) -> NoReturn:
        raise TypeError("not to be pickled")


class LeavingError(Exception):
    """Ends the process that pickles it."""

    def __reduce__(self) -> NoReturn:
        raise SystemExit(3)


class QuittingError(Exception):
    """Ends the process that asks for its text."""

    def __str__(self) -> NoReturn:
        raise SystemExit(4)


class DyingError(Exception):
    """Can be made and pickled, and cannot be made again."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("made of two")
        self.both = one, two


class LyingError(Exception):
    """Says that it is of another class."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no class")

    @__class__.setter
    def __class__(self, _value: object) -> None:
        """Mypy wants one."""


def _ghost() -> NoReturn:
    """Raise an exception of a module that only this process has."""
    module = types.ModuleType("ghost")
    sys.modules["ghost"] = module
    exec("class GhostError(Exception): pass", module.__dict__)
    raise module.GhostError("boo")


def _unreadable_source() -> NoReturn:
    """Raise in code whose source cannot be shown."""

    class Loader:
        def get_source(self, _name: str) -> NoReturn:
            raise ValueError("no source")

    namespace = {"__name__": "unreadable", "__loader__": Loader()}
    linecache.clearcache()
    exec(compile("def fail():\n    raise ValueError('unreadable')", "<unreadable>", "exec"), namespace)
    namespace["fail"]()  # type: ignore[operator]
    raise AssertionError


def _raise(error: BaseException) -> Callable[[], NoReturn]:
    def act() -> NoReturn:
        raise error

    return act


def _recurse() -> NoReturn:
    _recurse()


def _caused_by_mute() -> NoReturn:
    raise ValueError("caused") from MuteError()


def _with_notes() -> NoReturn:
    error = ValueError("with notes")
    error.__notes__ = ["\x1b" * 1000] * 10_000
    raise error


def _after_many() -> NoReturn:
    error = ValueError("the first")
    for number in range(10_000):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    raise error


def _caused_by_itself() -> NoReturn:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    raise one


def _ask_celery() -> NoReturn:
    raise current_task.retry(exc=ValueError("again"), countdown=0.1)


def _ask_celery_for_another() -> NoReturn:
    current_task.replace(current_app.signature("act/{kind}", args=("no envelope",)))
    raise AssertionError


ACTS: dict[str, Callable[[], NoReturn]] = {
    "surrogate": _raise(ValueError("unknown device " + json.loads('"\\ud800"'))),
    "mute": _raise(MuteError()),
    "caused by mute": _caused_by_mute,
    "odd text": _raise(OddTextError()),
    "unpicklable": _raise(UnpicklableError()),
    "leaving": _raise(LeavingError()),
    "quitting": _raise(QuittingError()),
    "dying": _raise(DyingError(1, 2)),
    "lying": _raise(LyingError()),
    "ghost": _ghost,
    "source": _unreadable_source,
    "name": _raise(type("A\x1b[2J" * 1000, (Exception,), {})("named")),
    "recursion": _recurse,
    "notes": _with_notes,
    "chain": _after_many,
    "cycle": _caused_by_itself,
    "cancelled": _raise(asyncio.CancelledError()),
    "generator exit": _raise(GeneratorExit()),
    "stop": _raise(StopIteration(1)),
    "interrupt": _raise(KeyboardInterrupt()),
    "ignored": _raise(Ignore("x")),
    "requeued": _raise(CeleryReject("x", requeue=True)),
    "huge": _raise(ValueError("x" * 20_000_000)),
    "exit": _raise(SystemExit("\ud800")),
    "group": _raise(BaseExceptionGroup("\ud800", [MuteError(), KeyboardInterrupt()])),
    "retry soon": _raise(Retry("soon", delay_s="soon")),  # type: ignore[arg-type]
    "celery's retry": _ask_celery,
    "celery's replace": _ask_celery_for_another,
    "retry never": _raise(Retry("never", delay_s=float("nan"))),
}


def act(kind: str) -> None:
    ACTS[kind]()


def fork(end: str) -> None:
    """Fork, and forget to end the other process before it leaves the controller."""
    if os.fork() == 0 and end != "return":
        raise SystemExit(0) if end == "exit" else ValueError("in a process beside the worker")


async def fork_async(end: str) -> None:
    fork(end)


def fail() -> None:
    raise ValueError("x")


def fine(message: Message) -> None:
    assert message.payload


class OddPolicy(RetryPolicy):
    """A policy of the user's own."""

    def delay_after(self, attempts: int) -> Any:
        answers: dict[int, Any] = {1: "soon", 2: float("nan")}
        if attempts in answers:
            return answers[attempts]
        raise LookupError(attempts)


class QuittingPolicy(RetryPolicy):
    """A policy that ends the process which asks it."""

    def delay_after(self, attempts: int) -> NoReturn:
        raise SystemExit(attempts)


def redact_to_text(_topic: str, payload: bytes) -> str:
    return payload.decode()


once = RetryPolicy(max_attempts=1)

router = Router()
router.on("act/{kind}", act, queue="act", retry=once, worker_count=2)
router.on("policy", fail, queue="act", retry=OddPolicy())
router.on("policy/quitting", fail, queue="act", retry=QuittingPolicy(never=(LookupError,)))
router.on("fork/{end}", fork, queue="act", retry=once)
router.on("fork-async/{end}", fork_async, queue="act", retry=once)
router.on("again", fail, queue="act", retry=RetryPolicy(max_attempts=2, base_delay_s=0))
router.on("fine", fine, queue="act")
