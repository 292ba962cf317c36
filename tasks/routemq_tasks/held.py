"""A message in a worker's hands, as far as it can be read, whoever wrote it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from routemq_transport.items import Item

from routemq.dead_letters import DeadLetter, Reason
from routemq.envelope import Envelope, TaskMessage
from routemq.errors import EnvelopeError
from routemq.logs import say
from routemq.retry import RetryPolicy
from routemq.text import error_line, printable
from routemq_tasks.fate import USUAL_POLICY

logger = logging.getLogger(__name__)

_NAME_LENGTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A message in a worker's hands, as far as it can be read.

    Attributes:
        tag: Its delivery tag; what is not held under it any more is left alone.
        route: Name of its route; of what names none, its queue.
        queue: Where it came from.
        id: Its Celery task id, None without one.
        message: All of it; None when it is no message of ours.
        policy: The route's.
        worker: Who holds it, for the record.
    """

    tag: str
    route: str
    queue: str
    worker: str
    id: str | None = None
    message: TaskMessage | None = None
    policy: RetryPolicy = USUAL_POLICY

    @classmethod
    def of_headers(
        cls,
        headers: object,
        arguments: Callable[[], Any],
        *,
        tag: str,
        queue: str,
        worker: str,
        route: str = "",
        strikes: int = 0,
        policy: RetryPolicy = USUAL_POLICY,
    ) -> "Held":
        """Read what Celery has of a message, whoever wrote it.

        Args:
            arguments: Returns the arguments of the task, or raises.
            route: The route of a message that names none.
            strikes: Of its mark.
        """
        fields: Mapping[str, Any] = headers if isinstance(headers, Mapping) else {}
        message_id, named = _name(fields.get("id")), _name(fields.get("task"))
        message = None
        if message_id and named:
            try:
                (argument,) = arguments()
                envelope = Envelope.from_wire(argument)
                message = TaskMessage.from_request(headers=fields, queue=queue, envelope=envelope, strikes=strikes)
            # Nothing about it was checked, so it may fail in any way; then it is no message of ours.
            except Exception as exc:  # noqa: BLE001
                say(logger, logging.DEBUG, "message %s cannot be read: %s", message_id, error_line(exc))
        return cls(
            tag=tag,
            route=named or route or queue,
            queue=queue,
            id=message_id or None,
            message=message,
            policy=policy,
            worker=worker,
        )

    @classmethod
    def of_item(cls, item: Item, *, worker: str) -> "Held":
        """Read what the transport did not hand to Celery."""
        try:
            message = TaskMessage.decode(item.raw)
        except (EnvelopeError, RecursionError):
            return cls(tag=item.tag, route=item.queue, queue=item.queue, worker=worker)
        return cls(tag=item.tag, route=message.route, queue=item.queue, id=message.id, message=message, worker=worker)

    def letter(self, reason: Reason, error: BaseException) -> DeadLetter:
        """Describe it as dead, with all that is known of the error; that runs the error's own code."""
        if self.message is not None:
            return DeadLetter.of(self.message, reason=reason, error=error, worker=self.worker)
        return DeadLetter.bare(
            route=self.route, queue=self.queue, message_id=self.id, reason=reason, error=error, worker=self.worker
        )

    def plain_letter(self, reason: Reason, error: str) -> DeadLetter:
        """Describe it as dead with what can be told of the error in one line."""
        return DeadLetter.bare(
            route=_name(self.route),
            queue=_name(self.queue),
            message_id=_name(self.id) or None,
            generation=0 if self.message is None else self.message.generation,
            reason=reason,
            error=error,
            worker=_name(self.worker),
        )


def _name(value: object) -> str:
    return printable(value[:_NAME_LENGTH]) if isinstance(value, str) else ""
