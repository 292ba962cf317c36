"""The prefork pool: Celery's, with bundles of short runs, and an end that loses no result."""

# ruff: noqa: SLF001  what a pool knows of its jobs has no public names in billiard

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from billiard import get_context, get_start_method
from billiard.pool import RUN
from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool

from routemq_tasks.bundle_page import BundlePage
from routemq_tasks.child_signals import allow_end, share_end
from routemq_tasks.request import RouteRequest
from routemq_tasks.run_times import BUNDLE_S, RunTimes
from routemq_tasks.shared_memory import share
from routemq_tasks.upstream.bundle import Bundle, request_of, say_start
from routemq_tasks.upstream.bundling import next_bundle
from routemq_tasks.upstream.job import Job, framed_alone
from routemq_tasks.upstream.pipes import ENDED, LOOK, Outcome, QuickResultHandler, QuickWorker, framed

_LOOK_EVERY_S = 2 * BUNDLE_S
"""How soon a pool sees that a child is at one message for longer than a whole bundle should take."""

_BUSY_S = 10 * BUNDLE_S
"""So long messages stay behind a run while every child has one."""

_ENOUGH = 32
"""So many jobs are handed out before the next turn of the loop, which may be in the middle of a fetch."""

_EXIT_S = 0.01


class RouteAsynPool(AsynPool):
    """Celery's pool on the event loop.

    Celery asks the kernel in each turn of its loop which idle child's pipe has room, writes each job by itself, in two
    parts, and reads of each that it has begun and that it has ended. Here an idle child gets a bundle of short jobs at
    once, and a page that both sides share says how far it is. All else stays Celery's.
    """

    ResultHandler = QuickResultHandler
    Worker = QuickWorker

    def __init__(self, *args: Any, **options: Any) -> None:
        self._bundles: dict[int, Bundle] = {}
        self._times = RunTimes()
        self._call_later: Callable[..., Any] | None = None
        self._will_look = False
        super().__init__(*args, **options)

    def take(self, request: RouteRequest) -> Job | None:
        """Take in a message of a route, as `apply_async` does any task."""
        if self._state != RUN:
            return None
        job = Job(self._cache, request, lost_worker_timeout_s=self.lost_worker_timeout)
        job.limit(self)
        self._put(job)
        if request.is_last:
            # Before the loop asks Redis for more, which takes longer, and wakes who may want this very processor.
            self.on_poll_start()
        return job

    def create_result_handler(self) -> Any:
        """Make what reads from the children, and let it know what ours say."""
        handler = super().create_result_handler()
        handler.state_handlers.update({ENDED: self._on_ended, LOOK: self._on_look})
        return handler

    def WorkerProcess(self, worker: Any) -> Any:  # noqa: N802  billiard's name
        """Make the process of a child."""
        process = super().WorkerProcess(worker)
        process.page = None
        # A child that is spawned has no memory in common with its parent.
        if get_start_method() == "fork":
            share_end(process, worker)
            process.page = worker.page = BundlePage(get_context("fork").Lock())
        return process

    def terminate_job(self, pid: int, sig: Any = None) -> None:
        """End a child with what it runs, as an operator asked."""
        bundle = self._bundles.get(pid)
        if bundle is not None and not bundle.runs():
            # What was to be ended has ended by itself; what runs there by now is none of the operator's.
            return
        process, _ = self._process_by_pid(pid)
        allow_end(process)
        super().terminate_job(pid, sig)

    def _event_process_exit(self, hub: Any, proc: Any) -> None:
        super()._event_process_exit(hub, proc)
        if proc in self._pool and self._state == RUN:
            # Its pipes are closed, and the kernel is not done with it yet. Celery would look again after five seconds.
            hub.call_later(_EXIT_S, self._event_process_exit, hub, proc)

    def on_job_process_down(self, job: Any, pid_gone: int) -> None:
        """See to a job whose child has ended, unless its page, which is looked at next, tells what became of it."""
        if job._write_to is None or job._write_to.pid not in self._bundles:
            super().on_job_process_down(job, pid_gone)

    def _on_hard_timeout(self, job: int) -> None:
        result = self._cache.get(job)
        bundle = None if result is None else self._bundles.get(result._worker_pid)
        # At a shutdown children begin nothing more.
        if self._state != RUN or bundle is None or bundle.runs(result):
            super()._on_hard_timeout(job)

    def _worker_active(self, worker: Any) -> bool:
        """Tell whether a child has a job, also one that lies in its pipe: a pool that shrinks ends no run."""
        pipe = worker.inqW_fd
        return pipe in self._busy_workers or pipe in self._active_writes or super()._worker_active(worker)

    def _iterinactive(self) -> Iterator[Any]:
        """Give the children that may be ended, each of which gets no more jobs."""
        for child in list(super()._iterinactive()):
            self._busy_workers.add(child.inqW_fd)
            yield child

    def flush(self) -> None:
        """Forget what no child has begun, at a shutdown or when the connection to Redis is lost.

        Celery forgets every job whose start it has not heard of, also one that lies in a child's pipe or runs there at
        this moment. Nobody would read its result: the message would run twice, and the child would wait for half a
        minute to be heard before it ends.
        """
        for bundle in list(self._bundles.values()):
            bundle.take_back(waits=True)
            bundle.look()
        in_hand: dict[Any, Any] = {
            number: job
            for number, job in self._cache.items()
            if not job._accepted and job._write_to is not None and job._write_to._is_alive()
        }
        super().flush()
        # Of a child that has ended meanwhile nobody will be told any more.
        in_hand = {number: job for number, job in in_hand.items() if job._write_to and job._write_to._is_alive()}
        self._cache.update(in_hand)
        # Else the next job would be put behind one that may take long, or over a bundle that is not read to its end.
        self._busy_workers.update(job._write_to.inqW_fd for job in in_hand.values())
        self._busy_workers.update(bundle.child.inqW_fd for bundle in self._bundles.values())

    def process_flush_queues(self, proc: Any) -> None:
        """Read what a child has left that has ended, and settle what it had in hand."""
        super().process_flush_queues(proc)
        bundle = self._bundles.pop(proc.pid, None)
        if bundle is not None:
            bundle.child_is_dead(lambda job: self.on_partial_read(job, proc))

    def _create_write_handlers(self, hub: Any, *args: Any, **options: Any) -> None:
        super()._create_write_handlers(hub, *args, **options)
        outbound, jobs, write_to = self.outbound_buffer, self._cache, hub.consolidate_callback

        def hand_out() -> None:
            while outbound and (pipe := self._idle_pipe()) is not None:
                if self._hand_out_to(self._fileno_to_inq[pipe]):
                    continue
                if not outbound:
                    break
                write_to([pipe])
                if pipe not in self._busy_workers:
                    break

        def put(job: Any) -> None:
            outbound.append(job)
            if len(outbound) >= _ENOUGH:
                hand_out()

        def put_any(message: Any) -> None:
            number, _, *call = message[1]
            job = jobs[number]
            job.call, job._payload = tuple(call), None
            if not isinstance(request_of(job), RouteRequest):
                job._payload = framed(message)
            put(job)

        self._put, self._quick_put = put, put_any
        # Called in each turn: for what came in the last one, or back from a child that died, and for new children.
        self.on_poll_start = hand_out
        # A lost connection takes the loop's timers with it.
        self._call_later, self._will_look = hub.call_later, False
        if self._bundles:
            self._look_soon()

    def _idle_pipe(self) -> int | None:
        busy, being_written = self._busy_workers, self._active_writes
        if len(busy) >= len(self._all_inqueues):
            return None
        return next((pipe for pipe in self._fileno_to_inq if pipe not in busy and pipe not in being_written), None)

    def _hand_out_to(self, child: Any) -> bool:
        """Hand an idle child, whose pipe is empty, what is next; returns False if Celery has to write it."""
        outbound, pipe = self.outbound_buffer, child.inqW_fd
        jobs, data = next_bundle(outbound, child, self._times, idle=len(self._all_inqueues) - len(self._busy_workers))
        if not jobs:
            if not outbound:
                return False
            if not framed_alone(outbound[0]):
                outbound.popleft()
                return True
            data = outbound[0]._payload[0]
        handed = jobs or [outbound.popleft()]
        say_start(handed)
        if not jobs and (handed[0]._payload[2] or handed[0]._accepted):
            outbound.appendleft(handed[0])
            return False
        try:
            written = os.write(pipe, data)
        except OSError:
            outbound.extendleft(reversed(handed))
            framed_alone(handed[0])
            return False
        for job in handed:
            job._scheduled_for = job._write_to = child
        self._busy_workers.add(pipe)
        self.write_stats[child.index] += 1
        if jobs:
            bundle = Bundle(child, jobs, put_back=outbound.appendleft, on_end=self._on_end)
            self._bundles[child.pid] = bundle
            self._look_soon()
            if written < len(data):
                # Linux takes all of what fits into an empty pipe. The rest would have to be written before all else.
                bundle.take_back(waits=True)
                bundle.is_harmless = True
                child.terminate()
        return True

    def _look_soon(self) -> None:
        if self._call_later is not None and not self._will_look:
            self._will_look = True
            self._call_later(_LOOK_EVERY_S, self._look_around)

    def _look_around(self) -> None:
        """See how far the children are, and take back what waits behind a run that takes long."""
        self._will_look = False
        if self._state != RUN:
            # At a shutdown timers are called by a thread of their own.
            return
        now = time.monotonic()
        for bundle in list(self._bundles.values()):
            bundle.look()
            # Where nobody is idle nothing is gained yet; and where processes wait for a processor, all seem to be slow.
            if bundle.is_slow(now, limit_s=BUNDLE_S if self._idle_pipe() is not None else _BUSY_S):
                bundle.take_back()
        if any(bundle.is_watched for bundle in self._bundles.values()):
            self._look_soon()

    def _on_end(self, bundle: Bundle, took: list[tuple[str, float]]) -> None:
        for name, took_s in took:
            self._times.add(name, took_s)
        self.restart_state.R = 0
        if (counter := self._on_ready_counters.get(bundle.child.pid)) is not None:
            with counter.get_lock():
                counter.value += len(took)

    def _on_ended(self, pid: int, slot: int, outcome: Outcome) -> None:
        """A child tells of a run whose end the page has no words for."""
        if (bundle := self._bundles.get(pid)) is not None:
            bundle.hear(slot, outcome)

    def _on_look(self, pid: int, number: int | None) -> None:
        """A child is at the end of its bundle, or will end itself."""
        bundle = self._bundles.get(pid)
        if bundle is None or number not in (None, bundle.page.number):
            return
        try:
            bundle.look()
        finally:
            if number is None:
                bundle.take_back(waits=True)
            else:
                self._bundles.pop(pid, None)
                self._busy_workers.discard(bundle.child.inqW_fd)
                bundle.close()


class RouteTaskPool(TaskPool):
    """Celery's prefork pool around ours.

    It is given all jobs at once, and not one for each child, so that it has what to make bundles of.
    """

    Pool = RouteAsynPool
    uses_semaphore = False
    take: Callable[[RouteRequest], Job | None] | None = None
    """The pool's, which is there when it has started."""

    def on_start(self) -> None:
        """Start the children."""
        share(self.app)
        super().on_start()
        pool = self._pool
        if isinstance(pool, RouteAsynPool):
            self.take = pool.take
