"""W3C trace context as it travels: in MQTT 5 user properties, and in the headers of a task message."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

PARENT, STATE = "traceparent", "tracestate"

_LONGEST_PARENT, _LONGEST_STATE = 256, 512
_PARENT = re.compile(r"((?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Which span a message comes from. Whatever a stranger wrote, it is short, plain ASCII.

    Attributes:
        parent: `traceparent`: version, trace id, span id and flags, 55 characters.
        state: `tracestate`, at most 512 characters.
    """

    parent: str
    state: str | None = None

    @classmethod
    def of(cls, parent: object, state: object = None) -> "TraceContext | None":
        """Read what somebody wrote; None when it is no trace context."""
        if not isinstance(parent, str) or len(parent) > _LONGEST_PARENT:
            return None
        found = _PARENT.fullmatch(parent)
        # A later version may say more behind the four parts, and is read as this one.
        if found is None or (found[2] and parent.startswith("00")):
            return None
        parent = found[1] if found[2] is None else "00" + found[1][2:]
        if not (isinstance(state, str) and state.isascii() and state.isprintable()):
            state = None
        return cls(parent, state if state and len(state) <= _LONGEST_STATE else None)

    @classmethod
    def in_properties(cls, properties: Iterable[tuple[str, str]]) -> "TraceContext | None":
        """Read it from MQTT 5 user properties; of several with one name the first counts."""
        found: dict[str, str] = {}
        for name, value in properties:
            if name in (PARENT, STATE):
                found.setdefault(name, value)
        return cls.of(found.get(PARENT), found.get(STATE))

    def pairs(self) -> dict[str, str]:
        """Return it as headers, or user properties."""
        return {PARENT: self.parent} if self.state is None else {PARENT: self.parent, STATE: self.state}
