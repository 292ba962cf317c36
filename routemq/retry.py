"""When a failed message is tried again, and when it is given up."""

import random
from dataclasses import dataclass

from routemq.errors import RouteMQError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff, bounded.

    Attributes:
        max_attempts: Runs in all, the first included; 1 means no retry.
        base_delay_s: Wait before the second run, in seconds; doubles from then on.
        max_delay_s: Upper bound of every wait, in seconds, before its jitter.
        jitter: Each wait is stretched by a random share of up to this much, so that messages which failed
            together do not come back together.
        never: Exception classes that are not worth a retry: the message is dead at once.
    """

    max_attempts: int = 3
    base_delay_s: float = 1.0
    max_delay_s: float = 300.0
    jitter: float = 0.1
    never: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        attempts: object = self.max_attempts
        if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
            raise ValueError(f"max_attempts={attempts!r}: the first run counts, so it is a whole number from 1")
        for name in ("base_delay_s", "max_delay_s", "jitter"):
            given: object = getattr(self, name)
            # No bound is a bound too.
            is_finite = name == "max_delay_s" or given != float("inf")
            if not isinstance(given, int | float) or not (given >= 0 and is_finite):
                raise ValueError(f"{name}={given!r}: it is a number, and not negative")
        never: object = self.never
        if not isinstance(never, tuple) or not all(isinstance(kind, type) for kind in never):
            raise ValueError(f"never={self.never!r}: it is a tuple of exception classes, such as (ValueError,)")

    def delay_after(self, attempts: int) -> float | None:
        """Return the seconds to wait after `attempts` failed runs, or None to give up."""
        if attempts >= self.max_attempts:
            return None
        # The exponent is bounded so that a policy of a thousand attempts does not overflow a float.
        delay_s = min(self.max_delay_s, self.base_delay_s * 2.0 ** min(attempts - 1, 64))
        return delay_s * (1 + random.random() * self.jitter)  # noqa: S311  spreading load, no secret


class Retry(RouteMQError):  # noqa: N818  a request, read at `raise Retry(…)`
    """Raised by a controller: run this message again later, by the controller's own word.

    It counts as an attempt: the policy's `max_attempts` still bounds it.

    Attributes:
        delay_s: Seconds to wait; None takes the policy's delay.
    """

    def __init__(self, why: str = "", *, delay_s: float | None = None) -> None:
        self.why, self.delay_s = why, delay_s
        super().__init__(why or "the controller asked for a retry")


class Reject(RouteMQError):  # noqa: N818  likewise
    """Raised by a controller: this message will never succeed; it is dead at once, reason `rejected`."""

    def __init__(self, why: str = "") -> None:
        self.why = why
        super().__init__(why or "the controller rejected the message")
