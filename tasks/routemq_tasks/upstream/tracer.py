"""What stands around the run of a route's message: of Celery's tracer, what a route has need of."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from types import FunctionType
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import _state as celerys_state
from celery import signals, states
from celery._state import pop_current_task, push_current_task
from celery.app import trace as celerys
from celery.app.task import Context
from celery.app.trace import TraceInfo, report_internal_error, trace_ok_t, traceback_clear
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.threads import Local

from routemq_tasks.request_stack import TaskStackLocal

Tracer = Callable[..., Any]
Run = Callable[[Any, Any], None]
"""Runs one message, from its request and its arguments; what it returns is nobody's."""

DONE = repr(None)
"""The result of a run that succeeded, as it is shown."""

_HOOKS = ("before_start", "on_success", "after_return")
"""Methods of a task that Celery's setting `task_annotations` may give it."""


class RouteContext(Context):
    """Celery's, of a message with the headers of a route: all is in it that Celery would have to look for."""

    called_directly = False
    time_limit: Any
    soft_time_limit: Any

    def __init__(self, headers: Mapping[str, Any], args: Any, kwargs: Any) -> None:
        fields: Any = vars(self)
        fields.update(headers)
        fields["args"], fields["kwargs"] = args, kwargs
        self.time_limit, self.soft_time_limit = fields.get("timelimit") or (None, None)


def hasten_current_task() -> None:
    """Let Celery find the task that a thread runs in fewer steps, unless one is running, or its stack is another."""
    stack = celerys_state._task_stack  # noqa: SLF001
    # With `USE_FAST_LOCALS` in the environment it is Celery's own quick one.
    kept = getattr(stack, "_local", None)
    if isinstance(kept, Local) and not any(kept):
        stack._local = TaskStackLocal()  # noqa: SLF001


def tracer_of(task: Any, run: Run, given: Tracer) -> Tracer:
    """Return ours for a task that Celery has made one for, unless somebody or something needs that very one.

    Error trackers wrap it, or what makes it; and of what it logs on each message, ours knows nothing.
    """
    kind = type(task)
    is_celerys = all(_is_of("celery.app.", each) for each in (celerys.build_tracer, given, kind.__call__))
    is_plain = _is_of(kind.__module__, kind.run) and "run" not in vars(task)
    if not (is_celerys and is_plain) or any(celerys.task_has_custom(task, hook) for hook in _HOOKS):
        return given
    return given if celerys.logger.isEnabledFor(logging.INFO) else _make_tracer(task, run)


def _is_of(package: str, function: Any) -> bool:
    # Not by its name, which wrappers take over from what they wrap.
    return type(function) is FunctionType and function.__globals__["__name__"].startswith(package)


def _make_tracer(task: Any, run: Run) -> Tracer:
    """Return what runs a message as Celery's tracer does, and reports it in the same words.

    No result, callback, chain or chord is looked for, of which a route has none; and a failure, which is rare beside
    them, is put into words by Celery's own code.
    """
    push_request, pop_request = task.request_stack.push, task.request_stack.pop
    prerun, postrun, success = signals.task_prerun, signals.task_postrun, signals.task_success

    def trace(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        began = monotonic()
        context = RouteContext(request, args, kwargs)
        # Else Celery would take the first task that the controller calls for the run itself.
        context._protected = 1  # noqa: SLF001
        state: str | None = None
        value: Any = None
        try:
            push_current_task(task)
            push_request(context)
            try:
                if prerun.receivers:
                    prerun.send(sender=task, task_id=uuid, task=task, args=args, kwargs=kwargs)
                try:
                    run(context, args)
                # Whatever the outcome is told as: the message has its fate already.
                except Exception as exc:  # noqa: BLE001
                    info, told = _told(task, context, exc)
                    state, value = info.state, info.retval
                    traceback_clear(exc)
                    return trace_ok_t(told, info, None, None)
                state, took_s = states.SUCCESS, monotonic() - began
                if success.receivers:
                    success.send(sender=task, result=None, runtime=took_s)
                return trace_ok_t(None, None, took_s, DONE)
            finally:
                try:
                    if postrun.receivers:
                        postrun.send(
                            sender=task, task_id=uuid, task=task, args=args, kwargs=kwargs, retval=value, state=state
                        )
                finally:
                    pop_current_task()
                    pop_request()
        except (MemoryError, Reject):
            raise
        # As Celery does with an error that is not the run's, but of who tells of it.
        except Exception as exc:  # noqa: BLE001
            celerys._signal_internal_error(task, uuid, args, kwargs, request, exc)  # noqa: SLF001
            told, info = report_internal_error(task, exc), TraceInfo(states.FAILURE, exc)
            info.handle_error_state(task, context)
            return trace_ok_t(told, info, None, None)

    return trace


def run_route(name: str, uuid: str, request: dict[str, Any]) -> tuple[int, Any, float | None]:
    """Run a route's message in a child, as Celery's `fast_trace_task` does with any."""
    tasks, _, _ = celerys._localized  # noqa: SLF001
    request["is_eager"] = False
    value, info, runtime_s, shown = tasks[name].__trace__(uuid, request["args"], request["kwargs"], request)
    return (1, value, runtime_s) if info else (0, shown, runtime_s)


# The same around a run of many messages: who listens hears of each. The last that begins ends first.


@contextmanager
def running(task: Any, context: Any) -> Iterator[None]:
    """Let a task be the current one."""
    push_current_task(task)
    task.request_stack.push(context)
    try:
        yield
    finally:
        pop_current_task()
        task.request_stack.pop()


def begin(task: Any, context: Any) -> None:
    """Tell those who listen that a message is going to be run."""
    # As above.
    context._protected = 1  # noqa: SLF001
    if signals.task_prerun.receivers:
        signals.task_prerun.send(sender=task, task_id=context.id, task=task, args=context.args, kwargs=context.kwargs)


def end(task: Any, context: Any, error: Exception | None, took_s: float) -> ExceptionInfo | None:
    """Tell those who listen how a message has ended; return what its request hears of it, unless it is done.

    Args:
        error: What to tell Celery of one that is not done.
    """
    info: ExceptionInfo | None = None
    state, value = states.SUCCESS, None
    try:
        if error is None:
            if signals.task_success.receivers:
                signals.task_success.send(sender=task, result=None, runtime=took_s)
        else:
            # Celery tells of an exception that is being handled.
            raise error  # noqa: TRY301
    # As above: the message has its fate already.
    except Exception as exc:  # noqa: BLE001
        info = ExceptionInfo(internal=True)
        try:
            told, info = _told(task, context, exc)
            state, value = told.state, told.retval
            traceback_clear(exc)
        # As above: the others of the batch must not be run again because of who hears of this one.
        except Exception as beside:  # noqa: BLE001
            celerys._signal_internal_error(task, context.id, context.args, context.kwargs, context, beside)  # noqa: SLF001
    leave(task, context, state, value)
    return info


def leave(task: Any, context: Any, state: str | None = None, value: Any = None) -> None:
    """Tell those who listen that the run of a message is over, whatever it has come to."""
    if signals.task_postrun.receivers:
        signals.task_postrun.send(
            sender=task,
            task_id=context.id,
            task=task,
            args=context.args,
            kwargs=context.kwargs,
            retval=value,
            state=state,
        )


def _told(task: Any, context: Any, error: Exception) -> tuple[Any, Any]:
    """Let Celery tell of a run that failed, as its tracer does, within the `except` that has the error."""
    kind = type(error)
    if issubclass(kind, Reject):
        info, told = TraceInfo("REJECTED", error), ExceptionInfo(internal=True)
        info.handle_reject(task, context)
    elif issubclass(kind, Ignore):
        info, told = TraceInfo("IGNORED", error), ExceptionInfo(internal=True)
        info.handle_ignore(task, context)
    elif issubclass(kind, Retry):
        info = TraceInfo(states.RETRY, error)
        told = info.handle_error_state(task, context, call_errbacks=False)
    else:
        info = TraceInfo(states.FAILURE, error)
        told = info.handle_error_state(task, context)
    return info, told
