"""Messages that no worker can or should run, on their way to the dead letters."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import redis

from routemq.dead_letters import DeadLetter, DeadLetters
from routemq.envelope import TaskMessage
from routemq.errors import EnvelopeError
from routemq_transport.items import DeliveredTooOftenError, Item

if TYPE_CHECKING:
    from routemq_transport.lease import Lease

logger = logging.getLogger(__name__)


class Burial:
    """Buries items of one channel, and never raises: while Redis is away, or refuses, they go back to their queue.

    Args:
        worker: Names this process in the record.
    """

    def __init__(self, dead_letters: DeadLetters, *, worker: str) -> None:
        self._dead_letters = dead_letters
        self._worker = worker

    def bury_malformed(self, item: Item, error: Exception, lease: "Lease") -> None:
        """Bury what is no message."""
        self._bury(self._malformed(item, error), item, lease)

    def bury_poison(self, item: Item, error: DeliveredTooOftenError, lease: "Lease") -> None:
        """Bury what was delivered too often."""
        try:
            message = TaskMessage.decode(item.raw)
        except EnvelopeError:
            # A Celery message that is not one of ours.
            letter = replace(self._malformed(item, error), reason="poison")
        else:
            letter = DeadLetter.of(message, reason="poison", error=error, worker=self._worker)
        self._bury(letter, item, lease)

    def _bury(self, letter: DeadLetter, item: Item, lease: "Lease") -> None:
        try:
            kept = self._dead_letters.bury(letter, delivery_tag=item.tag)
        except redis.RedisError as exc:
            logger.error("message on %s could not be buried, it goes back: %s", item.queue, exc)
            lease.put_back([item.tag], "returned")
        else:
            if kept is not None:
                logger.error(
                    "message is dead: %s (queue %s), reason %s: %s", kept.id, item.queue, kept.reason, kept.error,
                    extra={"route": kept.route, "message_id": kept.id},
                )  # fmt: skip
            lease.done(item.tag)

    def _malformed(self, item: Item, error: Exception) -> DeadLetter:
        return DeadLetter.malformed(
            route=item.queue, queue=item.queue, message_id=None, error=error, worker=self._worker
        )
