"""The batch's way to Redis, as the loop sees it: what is sent, what is acknowledged, when to stop."""

import logging
import time
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from routemq.errors import ConfigurationError
from routemq.text import error_line
from routemq_ingest.batch import OpenBatch
from routemq_ingest.cadence import Cadence
from routemq_ingest.errands import Errands
from routemq_ingest.flow import Flow
from routemq_ingest.queue_writer import QueueWriter, Sent
from routemq_ingest.statistics import Statistics

if TYPE_CHECKING:
    from routemq_ingest.receipts import Receipts

logger = logging.getLogger(__name__)

T = TypeVar("T")

_QUICK_S = 0.5
"""A Redis that has not answered for so long is waited for in a thread."""
_LOOK_S = 2.0
"""So often Redis is asked something, also without traffic."""


class Handover:
    """Sends the batch's head, and settles it with the answer; one question at a time.

    To a Redis that is there, the loop sends it itself, and goes on until the answer comes: handing it to a thread takes
    a third of the speed. Whatever else is to do, and whatever goes wrong, is waited for in a thread.

    Args:
        errands: Where Redis is waited for; nothing else uses the writer.
        receipts: Spans that end with the answer.
        cadence: By default one that begins now.

    Attributes:
        statistics: So far.
        answered_at: When Redis last did what it was asked, on the monotonic clock; None before the first time.
    """

    def __init__(
        self,
        batch: OpenBatch,
        writer: QueueWriter,
        flow: Flow,
        errands: Errands,
        receipts: "Receipts | None" = None,
        *,
        cadence: Cadence | None = None,
    ) -> None:
        self.statistics = Statistics()
        self.answered_at: float | None = None
        self._batch, self._writer, self._flow, self._errands = batch, writer, flow, errands
        self._receipts = receipts
        self._asking = False
        self._began_at: float | None = None
        self._cadence = cadence or Cadence()

    @property
    def rests(self) -> bool:
        """Whether what comes stays with the MQTT broker for a moment, to go on together."""
        return self._cadence.rest_s > 0

    @property
    def awaits(self) -> int | None:
        """The descriptor that is readable when the answer is there; None when no answer is to be read by the loop."""
        return None if self._began_at is None else self._writer.fileno()

    @property
    def idle_s(self) -> float:
        """For so long there is nothing to do, unless something comes."""
        rest_s = self._cadence.rest_s
        if rest_s:
            return rest_s
        if self._asking:
            return _LOOK_S
        if self._flow.pause is not None:
            return max(0.0, self._flow.retry_at - time.monotonic())
        return 0.0 if self._batch else _LOOK_S

    def tend(self) -> None:
        """Send what waits, or else see from time to time whether Redis is there."""
        now = time.monotonic()
        if self._began_at is not None and now >= self._began_at + _QUICK_S:
            self._writer.drop()
            self._wait()
        if self._asking:
            return
        if self._flow.pause is not None:
            if now >= self._flow.retry_at:
                self._look()
        elif self._batch:
            if not self.rests:
                self._send()
        elif self.answered_at is None or now >= self.answered_at + _LOOK_S:
            self._look()

    def read(self) -> None:
        """Take the answer that is there."""
        try:
            sent = self._writer.finish()
        # Whatever it is, what was sent is sent again, and then its fate is found out.
        except Exception as exc:  # noqa: BLE001
            logger.debug("redis did not simply take it: %s", error_line(exc))
            self._wait()
            return
        self._began_at, self._asking = None, False
        self.answered_at = time.monotonic()
        self._settle(sent)

    def _send(self) -> None:
        self._asking = True
        self._cadence.sent(len(self._batch))
        if self._flow.pause is None and self._writer.begin(self._batch.head()):
            self._began_at = time.monotonic()
        else:
            self._wait()

    def _wait(self) -> None:
        self._began_at = None
        self._errands.ask(partial(self._writer.send, self._batch.head()), then=self._sent)

    def _sent(self, answer: "Future[Sent]") -> None:
        sent = self._answer(answer)
        if sent is not None:
            self._settle(sent)

    def _settle(self, sent: Sent) -> None:
        late = 0
        for connection, mids in self._batch.settle(sent.taken).items():
            if connection.socket() is None:
                late += len(mids)
            connection.acknowledge(mids)
        if self._receipts is not None:
            self._receipts.settled(self._batch.taken)
        done = self.statistics
        self.statistics = replace(
            done, received=done.received + sent.taken, batches=done.batches + 1, late_acks=done.late_acks + late
        )
        self._flow.delivered(sent.lengths)

    def _look(self) -> None:
        self._asking = True
        self._errands.ask(partial(self._writer.look, tuple(self._flow.long_queues)), then=self._looked)

    def _looked(self, answer: "Future[dict[str, int]]") -> None:
        lengths = self._answer(answer)
        if lengths is None:
            return
        if self._flow.pause is not None and self._batch and not self._flow.long_queues:
            # A Redis that answers may refuse the same messages again; until it takes them, no more are read.
            self._send()
        else:
            self._flow.delivered(lengths)

    def _answer(self, answer: "Future[T]") -> T | None:
        self._asking = False
        try:
            found = answer.result()
        except ConfigurationError:
            raise
        # Whatever keeps a message from Redis, it stays with the MQTT broker, and is tried again.
        except BaseException as exc:  # noqa: BLE001
            self._flow.failed(exc)
            return None
        self.answered_at = time.monotonic()
        return found
