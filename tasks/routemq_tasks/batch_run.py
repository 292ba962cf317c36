"""One run of many messages through middleware and controller, in the process that a pool gives it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery import current_app
from celery.exceptions import Reject

from routemq.middleware import Context
from routemq.text import error_name, printable
from routemq_tasks.client import MessageClient
from routemq_tasks.execution import RouteTask, envelope_of
from routemq_tasks.outcomes import is_shutdown
from routemq_tasks.process import ProcessResources
from routemq_tasks.reports import Report, last_word
from routemq_tasks.upstream.tracer import DONE, RouteContext, begin, end, leave, running

if TYPE_CHECKING:
    from routemq_tasks.run_spans import Run

_PATIENCE_S = 30.0
"""For all outcomes of a run together, while Redis is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """How the run of a batch ended.

    Attributes:
        failed: Messages that are not done, by their number in the batch, each with what Celery's tracer would report.
        failed_together: The class of the error that all failed of; nothing was decided of any, and nothing recorded.
        value: What is shown as the result of those that are done.
    """

    failed: Mapping[int, Report] = field(default_factory=dict)
    failed_together: str | None = None
    value: str = DONE


@dataclass(slots=True, kw_only=True)
class _Member:
    """A message of a batch.

    Attributes:
        error: Why it is not done.
        context: What middleware sees; None when it cannot be run.
    """

    request: Any
    arguments: Any
    span: "Run | None" = None
    error: BaseException | None = None
    context: Context | None = None


def run_batch(name: str, requests: Sequence[Mapping[str, Any]]) -> Report:
    """Run messages of a route together: what a pool calls.

    Args:
        name: The route's.
        requests: Celery's descriptions of the messages, with their arguments.
    """
    task = current_app.tasks[name]
    began = time.monotonic()
    report = _run(task, requests)
    return 0, report, time.monotonic() - began


def _run(task: RouteTask, requests: Sequence[Mapping[str, Any]]) -> BatchReport:
    process = task.app.process
    members = []
    for request in requests:
        context = RouteContext(request, request["args"], request["kwargs"])
        members.append(_Member(request=context, arguments=request["args"]))
        begin(task, context)
    began = time.monotonic()
    with running(task, members[0].request):
        error = _run_members(task, process, members)
        runnable = [member for member in members if member.context is not None]
        if error is not None:
            if is_shutdown(error):
                # The messages stay unacknowledged, and go back to their queue.
                _interrupt(task, members)
                raise error
            if len(runnable) > 1:
                _interrupt(task, members)
                return BatchReport(failed_together=printable(error_name(error)))
            for member in runnable:
                member.error = error
    deadline, share_s = time.monotonic() + _PATIENCE_S, (time.monotonic() - began) / len(members)
    failed = {}
    for number, member in reversed([*enumerate(members)]):
        told = _end(task, process, member, deadline)
        info = end(task, member.request, told, share_s)
        if info is not None:
            failed[number] = 1, last_word(info), None
    return BatchReport(failed=failed)


def _run_members(task: RouteTask, process: ProcessResources, members: list[_Member]) -> BaseException | None:
    """Run those that can be; return what all of them failed of."""
    try:
        chain = task.load()
        client = MessageClient(process.publisher, task.hand_over(process, chain), process.runs)
        gate, route, runs = task.app.gate, task.route, process.runs
        for member in members:
            try:
                gate.check(route)
                if runs is not None:
                    member.span = runs.begin(route.template.text, member.request, member.arguments, is_current=False)
                message = task.message(member.request, envelope_of(member.arguments))
            except Exception as exc:
                if is_shutdown(exc):
                    raise
                member.error = exc
            else:
                member.context = Context(message=message, client=client)
        contexts = [member.context for member in members if member.context is not None]
        if contexts:
            task.run_chain(process, chain, contexts, client, next((each.span for each in members if each.span), None))
    # Whatever a controller raises is its messages' failure, not the process's.
    except BaseException as exc:  # noqa: BLE001
        return exc
    for member in members:
        if member.context is not None:
            member.error = member.context.message.decision
    return None


def _end(task: RouteTask, process: ProcessResources, member: _Member, deadline: float) -> Exception | None:
    """Have it recorded what becomes of a message that is not done, and return what to tell Celery."""
    if member.error is None:
        if member.span is not None:
            member.span.done()
        if process.done is not None:
            process.done.count(task.name)
        return None
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        # Redis is away: whoever holds it gives it back.
        if member.span is not None:
            member.span.interrupted()
        kept: Exception = Reject("its outcome is not recorded", requeue=True)
        return kept
    return task.end(process, member.request, member.arguments, member.error, member.span, patience_s=left_s)


def _interrupt(task: RouteTask, members: Sequence[_Member]) -> None:
    for member in reversed(members):
        if member.span is not None:
            member.span.interrupted()
        leave(task, member.request)
