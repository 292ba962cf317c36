"""A route's message as a job of the prefork pool's."""

# ruff: noqa: SLF001  what a pool knows of its jobs has no public names in billiard

import logging
import time
from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.pool import TASK, ApplyResult, job_counter

from routemq.logs import say
from routemq_tasks.request import RouteRequest
from routemq_tasks.upstream.pipes import Call, Payload, framed
from routemq_tasks.upstream.tracer import run_route

logger = logging.getLogger(__name__)

_AT_ONCE_S = 0.001
"""For a timer."""


class Job(ApplyResult):
    """billiard's job, with what the pool asks of it, made in fewer steps. Of the event loop's thread alone.

    Nobody waits for it in another thread: so it has no event and no lock. And no timer is set for a run that has ended
    before anybody saw it.

    Args:
        cache: The jobs of the pool that have no result.
        lost_worker_timeout_s: How long a result is waited for that a child may have left behind.
    """

    _accepted = _cancelled = _is_ready = _is_timed = False
    _payload: Payload | None = None
    _worker_pid = _terminated = _timeout_callback = None
    _time_accepted: Any = None
    _soft_timeout: float | None = None
    _timeout: float | None = None
    _callbacks_propagate = ()
    _timers: tuple[Callable[..., None], Callable[[Any], None]] | None = None

    def __init__(self, cache: dict[int, Any], request: RouteRequest, *, lost_worker_timeout_s: float) -> None:
        self.request, self.correlation_id = request, request.id
        self._job, self._cache, self._lost_worker_timeout = next(job_counter), cache, lost_worker_timeout_s
        cache[self._job] = self

    def limit(self, pool: Any) -> None:
        """Have its run end in time, by the pool's timers from when it is seen to run."""
        soft_s, hard_s = self.request.limits_s
        self._soft_timeout, self._timeout = soft_s or pool.soft_timeout, hard_s or pool.timeout
        if self._soft_timeout or self._timeout:
            self._timers = pool.on_timeout_set, pool.on_timeout_cancel

    @property
    def call(self) -> Call:
        """What the child calls."""
        request = self.request
        return run_route, (request.name, request.id, request.request_dict), {}

    def ready(self) -> bool:
        """Tell whether its end is known."""
        return self._is_ready

    def _ack(self, i: Any, time_accepted: float, pid: int, synqW_fd: Any) -> None:  # noqa: N803  billiard's name
        self._accepted, self._time_accepted, self._worker_pid = True, time_accepted, pid
        if self._is_ready:
            self.discard()
        else:
            self._start_timers()
        try:
            # As it was handed out the lease was told.
            self.request.say_accepted(pid, time_accepted)
        # The run goes on, whoever fails to hear of it: perhaps the signal does not exist that a command named.
        except Exception:  # noqa: BLE001
            say(logger, logging.ERROR, "the start of a run is not told", exc_info=True)

    def _set(self, i: Any, obj: tuple[bool, Any]) -> None:
        self._become_ready()
        if self._accepted:
            # Else the start that is told later takes it away, as billiard has it.
            self.discard()
        returned, value = obj
        if returned:
            self.safe_apply_callback(self.request.on_success, value)
        elif value is not None:
            self.safe_apply_callback(self.request.on_failure, value)

    def has_ended(self) -> None:
        """Its run is over: who is told of its start need not watch it."""
        if not self._is_timed:
            self._timers = None

    def end(self) -> bool:
        """Let its run be done; False if it has its end already."""
        if self._is_ready:
            return False
        self._become_ready()
        self.discard()
        self.request.leave_pool()
        return True

    def _start_timers(self) -> None:
        if self._timers is None:
            return
        self._is_timed = True
        ran_s, soft_s, hard_s = time.monotonic() - self._time_accepted, self._soft_timeout, self._timeout
        soft_s = max(_AT_ONCE_S, soft_s - ran_s) if soft_s else None
        # The pool waits for the difference after the soft one.
        hard_s = max(soft_s or _AT_ONCE_S, hard_s - ran_s) if hard_s else None
        self._timers[0](self, soft_s, hard_s)

    def _become_ready(self) -> None:
        self._is_ready = True
        if self._is_timed and self._timers is not None:
            self._timers[1](self)


def framed_alone(job: Any) -> bool:
    """Make of a job what Celery's pool writes, if that is still to do; False if it cannot be, and so has failed."""
    if job._payload is not None:
        return True
    try:
        job._payload = framed((TASK, (job._job, None, *job.call)))
    # It is nested too deep, say: a failure of its own.
    except Exception:  # noqa: BLE001
        job.discard()
        job._set(None, (False, ExceptionInfo()))
        return False
    return True
