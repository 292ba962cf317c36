"""Our tracer of routes tells what Celery's own tells, and stands aside for whoever needs that one."""

import logging
from collections.abc import Iterator
from functools import wraps
from typing import Any, NoReturn

import pytest
from celery import _state, current_task, signals
from celery.app import trace
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.threads import _FastLocalStack
from routemq_tasks.app import RouteMQCelery
from routemq_tasks.execution import RouteTask
from routemq_tasks.upstream.tracer import hasten_current_task

from routemq import Retry as RetryAsked
from routemq.routing import Router
from routemq.settings import Settings

SIGNALS = ("prerun", "postrun", "success", "failure", "retry", "internal_error")
REQUEST = {"id": "one", "task": "t", "retries": 2, "ignore_result": True, "hostname": "h", "headers": {"a": 1}}


class PlainError(Exception):
    pass


@pytest.fixture
def task() -> RouteTask:
    router = Router()
    router.on("t", lambda message: None, name="t", shared=True)
    app = RouteMQCelery(Settings(redis_url="redis://unused"), router)
    found: RouteTask = app.tasks["t"]
    return found


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """What the listeners of Celery's signals hear, and see of the current task."""
    heard: list[Any] = []

    def listener(name: str) -> Any:
        def hear(signal: Any, sender: Any, **said: Any) -> None:
            request = getattr(current_task, "request", None)
            heard.append((name, sender.name, _plain(said), getattr(request, "id", None)))

        return hear

    listeners = {name: listener(name) for name in SIGNALS}
    for name, hear in listeners.items():
        getattr(signals, f"task_{name}").connect(hear, weak=False)
    yield heard
    for name, hear in listeners.items():
        getattr(signals, f"task_{name}").disconnect(hear)


def _plain(said: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in said.items() if name not in ("runtime", "traceback", "request", "task")}
    return {name: repr(value.exception) if name == "einfo" else repr(value) for name, value in shown.items()}


def trace_with(task: RouteTask, error: BaseException | None, *, ours: bool) -> tuple[Any, ...]:
    """Run a message under either tracer; return what is reported, or raised."""

    def execute(request: Any, arguments: Any) -> None:
        assert (current_task.name, task.request.id, request.retries) == ("t", "one", 2)
        assert (task.request.args, task.request.headers, task.request.called_directly) == (["e"], {"a": 1}, False)
        if error is not None:
            raise error

    task.execute = execute  # type: ignore[method-assign]
    theirs = trace.build_tracer("t", task, app=task.app)
    task.__trace__ = theirs
    tracer = task.__trace__ if ours else theirs
    assert (tracer is theirs) is not ours
    assert tracer is not None
    try:
        value, info, runtime, text = tracer("one", ["e"], {}, dict(REQUEST))
    except BaseException as exc:  # noqa: BLE001  is compared
        return (type(exc),)
    finally:
        assert not current_task
        assert task.request_stack.top is None
    return (
        repr(getattr(value, "exception", value)),
        getattr(value, "internal", None),
        None if info is None else (info.state, info.retval is error),
        runtime is None,
        text,
    )


@pytest.mark.filterwarnings("ignore:Exception raised outside body")
@pytest.mark.parametrize(
    "error",
    [
        None,
        PlainError("why"),
        MemoryError("all of it"),
        Reject("no", requeue=True),
        Ignore(),
        Retry(exc=PlainError("why"), when=2.0),
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_each_end_of_a_run_is_told_in_the_same_words(
    task: RouteTask, told: list[Any], caplog: pytest.LogCaptureFixture, error: BaseException | None
) -> None:
    caplog.set_level(logging.WARNING)
    found = []
    for ours in (False, True):
        told.clear()
        caplog.clear()
        ended = trace_with(task, error, ours=ours)
        found.append((ended, list(told), [(record.levelname, record.getMessage()) for record in caplog.records]))
    assert found[1] == found[0]
    names = [name for name, *_ in found[1][1]]
    assert (names[0], names[-1]) == ("prerun", "postrun")


def test_another_app_leaves_a_run_its_request(task: RouteTask) -> None:
    stack = task.request_stack
    router = Router()
    router.on("other", lambda message: None, name="other", shared=True)
    RouteMQCelery(Settings(redis_url="redis://unused"), router)
    assert task.request_stack is stack


def test_a_task_that_a_run_calls_has_a_request_of_its_own(task: RouteTask) -> None:
    seen: list[Any] = []

    def execute(request: Any, arguments: Any) -> None:
        seen.append(list(request.args))
        if seen == [["outer"]]:
            task("inner")
            seen.append(list(task.request.args))

    task.execute = execute  # type: ignore[method-assign]
    # As in a worker, where Celery takes a call for the run itself until that is known to have begun.
    trace.setup_worker_optimizations(task.app, "h")
    try:
        task.__trace__ = trace.build_tracer("t", task, app=task.app)
        assert task.__trace__ is not None
        task.__trace__("one", ["outer"], {}, dict(REQUEST))
    finally:
        trace.reset_worker_optimizations(task.app)
    assert seen == [["outer"], ["inner"], ["outer"]]


@pytest.mark.filterwarnings("ignore:Exception raised outside body")
def test_what_fails_in_telling_is_told_too(task: RouteTask, told: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for ours in (False, True):
        told.clear()
        raised = iter([RuntimeError("cannot tell"), None])

        def on_failure(*_: Any, raised: Iterator[Any] = raised) -> None:
            if (error := next(raised)) is not None:
                raise error

        monkeypatch.setattr(task, "on_failure", on_failure)
        found.append((trace_with(task, PlainError("why"), ours=ours), list(told)))
    assert found[1] == found[0]
    assert [name for name, *_ in found[1][1]] == ["prerun", "postrun", "internal_error", "failure"]


def test_who_wraps_celerys_tracer_keeps_it(task: RouteTask, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = trace.build_tracer("t", task, app=task.app)

    @wraps(theirs)
    def wrapped(*args: Any) -> Any:
        return theirs(*args)

    def given_is_kept(given: Any = theirs) -> bool:
        task.__trace__ = given
        return task.__trace__ is given

    assert not given_is_kept()
    assert given_is_kept(wrapped)
    with monkeypatch.context() as patch:
        patch.setattr(trace, "build_tracer", wraps(trace.build_tracer)(lambda *args: theirs))
        assert given_is_kept()
    with monkeypatch.context() as patch:
        patch.setattr(task, "run", lambda *_: None)
        assert given_is_kept()
    for name in ("__call__", "run", "after_return"):
        with monkeypatch.context() as patch:
            patch.setattr(RouteTask, name, lambda *_: None)
            assert given_is_kept()
    logger = logging.getLogger("celery.app.trace")
    before = logger.level
    try:
        logger.setLevel(logging.INFO)
        assert given_is_kept()
    finally:
        logger.setLevel(before)
    assert not given_is_kept()


def test_a_stack_of_celerys_that_is_quick_already_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # As `USE_FAST_LOCALS` in the environment has it.
    quick = _FastLocalStack()
    monkeypatch.setattr(_state, "_task_stack", quick)
    hasten_current_task()
    quick.push("task")
    assert _state.get_current_task() == "task"


class MuteError(ValueError):
    def __str__(self) -> NoReturn:
        raise RuntimeError


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (None, "the controller asked for a retry"),
        (ValueError("no"), "ValueError: no"),
        (MuteError(), "MuteError: (its text cannot be made: RuntimeError)"),
        ("no connection", "no connection"),
        (ValueError, "<class 'ValueError'>"),
    ],
)
def test_celerys_retry_is_ours_whatever_it_is_for(task: RouteTask, given: object, why: str) -> None:
    asked = task.retry(exc=given, countdown=5, throw=False)
    assert isinstance(asked, RetryAsked)
    assert (str(asked), asked.delay_s) == (why, 5)
    assert asked.__cause__ is (given if isinstance(given, ValueError) else None)
