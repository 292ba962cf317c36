"""What a message that came back from a worker says of that: the first member of its list item."""

import re
from dataclasses import dataclass

import orjson

MEMBER = "routemq"

_MARKED = re.compile(rb'\{"routemq":\s*\[([\d,\s]{3,100})\],\s*(?=")(.*)', re.DOTALL)
_MOST = 2**40
_UNMARKED = re.compile(rb'\s*\{\s*(?=")(.*)', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Written before all other members, so that no script has to read JSON: `{"routemq":[deliveries,strikes],…`.

    A later release may add numbers; those that are not known are left out when it is written again.

    Attributes:
        deliveries: How often it was handed to a worker and came back without an outcome.
        strikes: How many processes it has ended, children and whole workers; it keeps them when it is run again.
        unknown_since: When a worker first had it that does not know its route, Unix seconds; a third number.
    """

    deliveries: int = 0
    strikes: int = 0
    unknown_since: int | None = None

    @classmethod
    def of(cls, member: object) -> "Mark":
        """Read the member `routemq` of a message.

        Raises:
            ValueError: It is no mark.
        """
        if member is None:
            return UNMARKED
        numbers = member if isinstance(member, list) else []
        if len(numbers) < 2 or not all(type(number) is int and 0 <= number < _MOST for number in numbers):
            raise ValueError(f"its mark is {member!r:.100}")
        return cls(deliveries=numbers[0], strikes=numbers[1], unknown_since=numbers[2] if len(numbers) > 2 else None)

    @classmethod
    def split(cls, item: bytes) -> "tuple[Mark, bytes]":
        """Return the mark of a list item, and the item without it, byte for byte what it was.

        Raises:
            ValueError: It is no JSON object with members.
        """
        marked = _MARKED.fullmatch(item)
        if marked is not None:
            return cls.of(orjson.loads(b"[" + marked[1] + b"]")), b"{" + marked[2]
        if _UNMARKED.fullmatch(item) is None:
            raise ValueError("no JSON object with members")
        return UNMARKED, item

    def on(self, item: bytes) -> bytes:
        """Return a list item that has no mark with this one."""
        found = _UNMARKED.fullmatch(item)
        if self == UNMARKED or found is None:
            return item
        since = b"" if self.unknown_since is None else b",%d" % self.unknown_since
        return b'{"routemq":[%d,%d%s],%s' % (self.deliveries, self.strikes, since, found[1])


UNMARKED = Mark()
"""Of a message that never came back; it need not be written."""
