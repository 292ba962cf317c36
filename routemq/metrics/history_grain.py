"""How the history of a route lies in Redis: minutes of an hour, and hours of a day."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from routemq.metrics.histogram import BOUNDS_S
from routemq.queues import Keys

Span = Literal["day", "month"]

COUNTS = ("received", "replayed", "done", "retried", "dead")
"""In the order of a slot; then the buckets of the times of runs, then those of waiting.

Another order, or number, takes other names of keys: what is there is read as it was written.
"""

_BUCKETS = len(BOUNDS_S) + 1
FIRST_RUN, FIRST_WAIT, WIDTH = (len(COUNTS) + kinds * _BUCKETS for kinds in range(3))
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Grain:
    """How one kind of slots is kept.

    Attributes:
        slot_s: What a slot spans; likewise `key_s`, what a key does.
        shown_s: How far back is read; a key is kept for one more `key_s`, since its first slot is older than its last.
    """

    name: str
    slot_s: int
    key_s: int
    shown_s: int

    @property
    def slots(self) -> int:
        return self.key_s // self.slot_s

    def key(self, keys: Keys, route: str, at: float) -> str:
        return keys.history(self.name, int(at // self.key_s), route)

    def keys_until(self, keys: Keys, route: str, at: float) -> list[str]:
        """Return all keys of a route that can be there."""
        return [self.key(keys, route, at - back) for back in range(0, self.shown_s + 2 * self.key_s, self.key_s)]

    def add(self, pipe: Any, keys: Keys, route: str, at: float, amounts: Mapping[int, int]) -> None:
        """Add to the slot of a moment, in two commands; `amounts` by their place in it."""
        key = self.key(keys, route, at)
        first = int(at % self.key_s) // self.slot_s * WIDTH
        # With its last number the key gets its whole length at once: one that grows takes up to twice as much.
        places = {self.slots * WIDTH - 1: 0} | {first + place: amount for place, amount in amounts.items()}
        words = [word for place, amount in places.items() for word in ("INCRBY", "u32", f"#{place}", amount)]
        pipe.execute_command("BITFIELD", key, "OVERFLOW", "SAT", *words)
        pipe.expire(key, self.shown_s + self.key_s)


GRAINS: Mapping[Span, Grain] = {
    "day": Grain(name="minutes", slot_s=_MINUTE_S, key_s=_HOUR_S, shown_s=_DAY_S),
    "month": Grain(name="hours", slot_s=_HOUR_S, key_s=_DAY_S, shown_s=31 * _DAY_S),
}
