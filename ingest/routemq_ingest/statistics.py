"""What an ingest process has done so far."""

from dataclasses import asdict, dataclass
from typing import Any

_TELL_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A snapshot since the process began.

    Attributes:
        received: Messages that are in Redis: queued or buried.
        batches: Round trips that took them there.
        late_acks: PUBACKs not sent, because their connection had ended; the broker sends these messages again.
        paused_s: Seconds in which no messages were taken.
        sessions_lost: How often the MQTT broker had no session of ours where it should have had one: messages may be
            lost.
    """

    received: int = 0
    batches: int = 0
    late_acks: int = 0
    paused_s: float = 0.0
    sessions_lost: int = 0


class Account:
    """Tells now and then what was done since the last time.

    Args:
        begun_at: Seconds that never jump, as the caller's clock has them.
    """

    def __init__(self, begun_at: float) -> None:
        self._before, self._at = Statistics(), begun_at

    def is_due(self, now: float) -> bool:
        """Return whether it is time to tell."""
        return now >= self._at + _TELL_EVERY_S

    def line(self, done: Statistics, now: float) -> str:
        """Return it in words."""
        before, time_s = self._before, max(now - self._at, 1e-3)
        self._before, self._at = done, now
        received, batches = done.received - before.received, done.batches - before.batches
        return (
            f"received={received} in {time_s:.0f} s ({received / time_s:.1f}/s, {received / max(1, batches):.1f} per "
            f"batch) total={done.received} late_acks={done.late_acks} paused_s={done.paused_s:.1f}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How an ingest process is, at one moment.

    Attributes:
        alive: The loop turns.
        trouble: Why messages are not taken now, as far as can be told; None when Redis and the MQTT broker have
            answered lately, and every route is subscribed, here or by the holder of the lease.
        pause: The part of it that is a pause: Redis takes nothing, or a queue is too long.
        holds: Whether it holds the non-shared routes.
    """

    alive: bool
    trouble: str | None
    pause: str | None
    holds: bool
    statistics: Statistics

    @property
    def ready(self) -> bool:
        """Whether messages are taken."""
        return self.trouble is None

    def to_json(self) -> dict[str, Any]:
        """Return what `/readyz` and `/healthz` answer."""
        return {"ready": self.ready, **asdict(self)}
