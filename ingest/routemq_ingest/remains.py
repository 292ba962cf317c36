"""What is kept of a message that cannot be kept whole."""

import base64
import hashlib
from typing import Any

import orjson

from routemq.dead_letters import DeadLetter
from routemq.dead_letters.letter import Reason
from routemq.envelope import TaskMessage
from routemq.settings import Settings
from routemq.text import error_line
from routemq_ingest.errors import NotTakenError

_HEAD_BYTES = 4096


class Remains:
    """Makes letters of messages that cannot be queued: whole ones, or with size, digest and beginning of the payload.

    Args:
        worker: Name of this process.
    """

    def __init__(self, settings: Settings, *, worker: str) -> None:
        self._worker = worker
        # What values are to be taken out of, and is only a part, cannot be looked through: nothing of it is shown.
        self._head_bytes = 0 if settings.dlq_redact or settings.dlq_redact_hook else _HEAD_BYTES

    def whole(self, message: TaskMessage, *, error: BaseException) -> DeadLetter:
        """Return a letter that goes with the message as it is."""
        return DeadLetter.of(message, reason="malformed", error=error, worker=self._worker)

    def letter(self, message: TaskMessage, *, reason: Reason, error: BaseException) -> tuple[DeadLetter, bytes]:
        """Return a letter, and JSON that every worker refuses: a part of a message must not be run."""
        envelope = message.envelope
        payload, digest = envelope.payload, hashlib.sha256(envelope.payload).hexdigest()
        kept: dict[str, Any] = {
            "truncated": True,
            "topic": envelope.topic,
            "qos": envelope.qos,
            "retain": envelope.retain,
            "received_at": envelope.received_at,
            "payload_bytes": len(payload),
            "payload_sha256": digest,
        }
        if head := payload[: self._head_bytes]:
            try:
                kept["payload_begins"] = head.decode()
            except UnicodeDecodeError:
                kept["payload_begins_base64"] = base64.b64encode(head).decode()
        why = NotTakenError(why=error_line(error), payload_bytes=len(payload), payload_sha256=digest)
        return DeadLetter.of(message, reason=reason, error=why, worker=self._worker), orjson.dumps(kept)

    def trace(
        self, item: bytes, *, route: str, queue: str, reason: Reason, error: BaseException
    ) -> tuple[DeadLetter, bytes]:
        """Return a letter in which nothing comes from the message but how long it was and its digest."""
        digest = hashlib.sha256(item).hexdigest()
        why = NotTakenError(why=type(error).__name__, payload_bytes=len(item), payload_sha256=digest)
        letter = DeadLetter.bare(
            route=route, queue=queue, message_id=None, reason=reason, error=error_line(why),
            worker=self._worker,
        )  # fmt: skip
        return letter, orjson.dumps({"truncated": True, "item_bytes": len(item), "item_sha256": digest})
