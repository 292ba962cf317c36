"""What an ingest process has done so far."""

from dataclasses import asdict, dataclass
from typing import Any


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How an ingest process is, at one moment.

    Attributes:
        alive: The loop turns.
        ready: Redis answers, and every route is subscribed, here or by the holder of the lease.
        pause: Why no messages are taken now.
        holds: Whether it holds the non-shared routes.
    """

    alive: bool
    ready: bool
    pause: str | None
    holds: bool
    statistics: Statistics

    def to_json(self) -> dict[str, Any]:
        """Return what `/health` answers."""
        return asdict(self)
