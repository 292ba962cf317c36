"""What an ingest process has done so far."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A snapshot since the process began.

    Attributes:
        received: Messages that are in Redis: queued or buried.
        batches: Round trips that took them there.
        late_acks: PUBACKs not sent, because their connection had ended; the broker sends these messages again.
        paused_s: Seconds in which no messages were taken.
    """

    received: int = 0
    batches: int = 0
    late_acks: int = 0
    paused_s: float = 0.0
