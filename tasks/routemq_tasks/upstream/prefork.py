"""The prefork pool: Celery's, with fewer system calls for each job, and an end that loses no result."""

# ruff: noqa: SLF001  what a pool knows of its jobs has no public names in billiard

import gc
import os
from collections.abc import Iterator
from typing import Any

from billiard import get_start_method
from celery.concurrency.asynpool import SCHED_STRATEGY_FAIR, AsynPool
from celery.concurrency.prefork import TaskPool
from routemq_transport.starting_request import StartingRequest

from routemq_tasks.batch_request import BatchRequest
from routemq_tasks.child_signals import allow_end, share_end
from routemq_tasks.upstream.pipes import QuickResultHandler, QuickWorker, framed


class RouteAsynPool(AsynPool):
    """Celery's pool on the event loop.

    Celery asks the kernel in each turn of its loop which idle child's pipe has room, and writes each job in two parts,
    of which the first wakes the child too early. An idle child's pipe is empty, so a job is written at once, whole.
    """

    ResultHandler = QuickResultHandler
    Worker = QuickWorker

    def WorkerProcess(self, worker: Any) -> Any:  # noqa: N802  billiard's name
        """Make the process of a child."""
        process = super().WorkerProcess(worker)
        # A child that is spawned has no memory in common with its parent.
        if get_start_method() == "fork":
            share_end(process, worker)
        return process

    def terminate_job(self, pid: int, sig: Any = None) -> None:
        """End a child with what it runs, as an operator asked."""
        process, _ = self._process_by_pid(pid)
        allow_end(process)
        super().terminate_job(pid, sig)

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
        """Forget what no child has, at a shutdown or when the connection to Redis is lost.

        Celery forgets every job whose start it has not heard of, also one that lies in a child's pipe or runs there at
        this moment. Nobody would read its result: the message would run twice, and the child would wait for half a
        minute to be heard before it ends.
        """
        in_hand: dict[Any, Any] = {
            number: job
            for number, job in self._cache.items()
            if not job._accepted and job._write_to is not None and job._write_to._is_alive()
        }
        super().flush()
        self._cache.update(in_hand)
        # Else the next job would be put behind one that may take long.
        self._busy_workers.update(job._write_to.inqW_fd for job in in_hand.values())

    def _create_write_handlers(self, hub: Any, *args: Any, **options: Any) -> None:
        super()._create_write_handlers(hub, *args, **options)
        if self.sched_strategy != SCHED_STRATEGY_FAIR:
            # With `-O default` a child's pipe takes jobs while it is busy, as long as there is room.
            return
        outbound, pipes = self.outbound_buffer, self._all_inqueues
        busy, being_written, child_of = self._busy_workers, self._active_writes, self._fileno_to_inq
        jobs, write_to, statistics = self._cache, hub.consolidate_callback, self.write_stats

        def hand_out() -> None:
            while outbound and len(busy) < len(pipes):
                pipe = next((pipe for pipe in child_of if pipe not in busy and pipe not in being_written), None)
                if pipe is None:
                    return
                job = outbound[0]
                _say_start(job)
                if _wrote_at_once(job, pipe):
                    outbound.popleft()
                    child = job._scheduled_for = job._write_to = child_of[pipe]
                    busy.add(pipe)
                    statistics[child.index] += 1
                    continue
                write_to([pipe])
                if pipe not in busy:
                    return

        def put(job: Any) -> None:
            result = jobs[job[1][0]]
            result._payload = framed(job)
            outbound.append(result)
            hand_out()

        self._quick_put = put
        # Called in each turn: for what came back from a child that died, and for children that just started.
        self.on_poll_start = hand_out


def _wrote_at_once(job: Any, pipe: int) -> bool:
    whole, _, more = job._payload
    if more or job._accepted:
        return False
    try:
        return os.write(pipe, whole) > 0
    except OSError:
        # Celery's way of writing knows what to do with a pipe that takes nothing.
        return False


def _say_start(job: Any) -> None:
    request = getattr(job._accept_callback, "__self__", None)
    if isinstance(request, (StartingRequest, BatchRequest)):
        request.say_start()


class RouteTaskPool(TaskPool):
    """Celery's prefork pool around ours."""

    Pool = RouteAsynPool

    def on_start(self) -> None:
        """Start the children."""
        # What is there now stays as it is: a child's collector would write to every object of its parent's pages, and
        # with that copy them all.
        gc.collect()
        gc.freeze()
        super().on_start()
