"""Celery's autoscaler, which goes by what the queues need instead of what the worker has fetched."""

import time
from typing import Any

from celery.worker.autoscale import AUTOSCALE_KEEPALIVE, Autoscaler

from routemq_tasks.scaling import Cooldown

_TURN_EVERY_S = 1.0


class LoadAutoscaler(Autoscaler):
    """Grows and shrinks the pool; called once a second, by the event loop or, without one, in a thread of its own.

    Attributes:
        wanted: Hands that are needed now; `LoadWatch` sets it, from its own thread.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._cooldown = Cooldown(AUTOSCALE_KEEPALIVE)
        self.wanted = self.min_concurrency
        # How often Celery calls.
        self.keepalive = _TURN_EVERY_S

    @property
    def qty(self) -> int:
        """How many hands Celery should see to."""
        # Without one nothing runs that would say what is needed, whatever `celery control autoscale` has set.
        return self._cooldown.settle(max(self.wanted, self.min_concurrency, 1), now=time.monotonic())

    def maybe_scale(self, req: Any = None) -> None:
        """Look once; that one more message was fetched says nothing."""
        if req is not None:
            return
        super().maybe_scale()
        self._fit_prefetch()

    def scale_down(self, n: int) -> None:
        """Let idle hands go; the cooldown has been waited for."""
        self._shrink(n)

    def _fit_prefetch(self) -> None:
        """Take as much in hand as there are hands, so that other workers find something to do."""
        consumer = self.worker.consumer
        wanted = self.processes * consumer.prefetch_multiplier
        change = wanted - consumer.initial_prefetch_count
        qos = getattr(consumer, "qos", None)
        if not change or qos is None:
            return
        consumer.initial_prefetch_count = wanted
        (qos.increment_eventually if change > 0 else qos.decrement_eventually)(abs(change))

    def _update_consumer_prefetch_count(self, new_max: int) -> None:
        """Celery would go by the greatest number."""
