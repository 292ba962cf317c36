"""What the messages of one worker process share."""

import os
from typing import TYPE_CHECKING

from routemq.connections import connect_redis
from routemq.dead_letters import DeadLetters
from routemq.queues import Keys
from routemq.settings import Settings
from routemq.tracing.start_tracing import WORKER, flush, start_tracing
from routemq_tasks.done_counter import DoneCounter
from routemq_tasks.event_loop import EventLoop
from routemq_tasks.gate import Stopping
from routemq_tasks.outcomes import Outcomes
from routemq_tasks.publisher import Publisher
from routemq_tasks.soft_limit import SoftTimeLimit

if TYPE_CHECKING:
    from routemq_tasks.run_spans import Runs


class ProcessResources:
    """Connections, event loop and counters of the process that makes it; none of them survives a fork.

    Each opens what it needs on first use: a process that only buries has no MQTT connection and no loop.

    Args:
        outcomes: What `outcomes_of` has made, which nobody has used yet; by default made here.
        traces: Whether the environment says where spans go.
    """

    def __init__(
        self, settings: Settings, stopping: Stopping, *, outcomes: Outcomes | None = None, traces: bool = True
    ) -> None:
        self.pid = os.getpid()
        self.outcomes = outcomes or outcomes_of(settings, stopping)
        # Our transport counts in the step that takes a message out of `unacked`; Celery's own cannot.
        is_counted = settings.transport == "stock"
        self.done = DoneCounter(connect_redis(settings), Keys(settings.key_prefix)) if is_counted else None
        self.publisher = Publisher(settings)
        self.loop = EventLoop()
        self.soft_limit = SoftTimeLimit()
        self._provider = start_tracing(WORKER) if traces else None
        self.runs = self._traced(settings)

    def close(self) -> None:
        """Write what is counted and say goodbye."""
        if self.done is not None:
            self.done.close()
        self.publisher.close()
        self.loop.close()
        # A child ends by `os._exit`, which waits for no thread that sends spans.
        flush(self._provider)

    def _traced(self, settings: Settings) -> "Runs | None":
        if self._provider is None:
            return None
        from routemq_tasks.run_spans import Runs

        return Runs(self._provider, report_retries=settings.report_retries)


def outcomes_of(settings: Settings, stopping: Stopping) -> Outcomes:
    """Return what records the ends of messages. It connects as it is first used: a child may have it of its parent."""
    client = connect_redis(settings)
    letters = DeadLetters.of(settings, client)
    return Outcomes(
        client,
        Keys(settings.key_prefix),
        dead_letters=letters,
        redaction=letters.redaction,
        show_payloads=settings.shows_payloads,
        unknown_wait_s=settings.unknown_route_wait_s,
        report_retries=settings.report_retries,
        stopping=stopping,
    )
