"""Messages of a route with `batch=` that have come, until they are run together."""

import weakref
from functools import partial
from typing import Any

from routemq_transport.upstream.qos import has_full_hands

from routemq.batching import Batch
from routemq_tasks.batch_request import AT_ONCE_S, hand_to_pool, is_stopping
from routemq_tasks.request import RouteRequest


class Gathering:
    """What has come of one route, over one connection; of the consumer's thread alone.

    What is gathered waits as any message does that the pool has not begun: its lease is renewed, and a shutdown or a
    lost connection give it back to the front of its queue, not counted. A message that has ended a process is not
    gathered: it would take its neighbours along.
    """

    def __init__(self, batch: Batch, consumer: Any) -> None:
        self._batch, self._consumer = batch, consumer
        self._requests: list[RouteRequest] = []
        self._size_bytes = 0
        self._number = 0

    def add(self, request: RouteRequest) -> None:
        """Take in what came last, and run what is complete."""
        batch, message = self._batch, request.message
        size_bytes = len(message.body)
        message.channel.qos.gathers = True
        if self._requests and self._size_bytes + size_bytes > batch.max_bytes:
            self._run()
        if not self._requests:
            # Those of the batches before are left to be late; not every pool's can be cancelled.
            self._number += 1
            self._consumer.timer.call_after(
                max(AT_ONCE_S, batch.max_wait_s), partial(_due, weakref.ref(self), self._number)
            )
        self._requests.append(request)
        self._size_bytes += size_bytes
        is_complete = len(self._requests) >= batch.max_messages or self._size_bytes >= batch.max_bytes
        # Nothing more would come before these are done.
        if is_complete or has_full_hands(message.channel):
            self._run()

    def run_late(self, number: int) -> None:
        """Run what has come, unless it is of another batch than when the timer was set."""
        if number != self._number or not self._requests or is_stopping():
            return
        if self._requests[0].message.channel.closed:
            # They went back with their connection.
            self._requests = []
            return
        self._run()

    def _run(self) -> None:
        requests, self._requests, self._size_bytes = self._requests, [], 0
        self._number += 1
        hand_to_pool(requests, self._consumer)


def _due(gathering: "weakref.ref[Gathering]", number: int) -> None:
    # A timer may outlive its connection. What has come by that would stay in hand as long, and goes back without it.
    found = gathering()
    if found is not None:
        found.run_late(number)
