"""How many messages a controller gets at once, and how long the first of them waits for the others."""

import math
from dataclasses import dataclass

MOST_MESSAGES = 10_000
"""Of one batch: all of them are in one worker's hands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a route's controller gets at once; a batch runs as soon as one of the three is reached.

    Attributes:
        max_messages: Most messages. Fewer if the worker's prefetch has no room for more.
        max_wait_s: How long the first message that has come waits for others, in seconds; 0 takes what is there.
        max_bytes: Most bytes of all of them as they lie on the queue; a message that is larger comes alone.
    """

    max_messages: int = 100
    max_wait_s: float = 0.2
    max_bytes: int = 1_000_000

    def __post_init__(self) -> None:
        # Typed in vain for users who do not check types; True is a number to Python.
        counts: dict[str, object] = {"max_messages": self.max_messages, "max_bytes": self.max_bytes}
        for name, count in counts.items():
            if type(count) is not int or count < 1:
                raise ValueError(f"{name}={count!r}: it is a whole number from 1")
        if self.max_messages > MOST_MESSAGES:
            raise ValueError(f"max_messages={self.max_messages}: a batch has {MOST_MESSAGES} messages at most")
        wait_s: object = self.max_wait_s
        if type(wait_s) not in (int, float) or not 0 <= self.max_wait_s < math.inf:
            raise ValueError(f"max_wait_s={wait_s!r}: it is a number of seconds, 0 or more")
