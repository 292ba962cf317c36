"""What became of a letter that is not there any more, as far as Redis still knows."""

from dataclasses import dataclass

from routemq.dead_letters.audit import AuditEntry
from routemq.dead_letters.bin import Discard
from routemq.dead_letters.store import DeadLetters
from routemq.dead_letters.times import moment

_CHANGES_LOOKED_AT = 1000
_PAST = {"replay": "replayed", "discard": "discarded", "archive": "archived", "purge": "written to a file"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """Where a letter went.

    Attributes:
        later: The letter that its message became, when it was replayed and died again.
        discard: With what it was discarded, when it is in the bin.
        change: Who replayed or discarded it, when that was done to this letter by its id.
    """

    later: str | None = None
    discard: Discard | None = None
    change: AuditEntry | None = None

    @classmethod
    def of(cls, store: DeadLetters, letter_id: str) -> "Whereabouts":
        """Look for a letter that is not there."""
        task_id, _, generation = letter_id.rpartition(":")
        later = store.find(task_id) if generation else None
        discard = store.bin.holding(letter_id)
        change = next(
            (entry for entry in store.audit(limit=_CHANGES_LOOKED_AT)
             if entry.action in _PAST and letter_id in entry.detail.replace(",", " ").split()),
            None,
        )  # fmt: skip
        return cls(later=later, discard=discard, change=change)

    def __str__(self) -> str:
        if self.discard is not None:
            by, at, until = self.discard.operation.actor, moment(self.discard.at), moment(self.discard.until)
            return f"it was discarded by {by} at {at}, and is in the bin until {until}"
        if self.later is not None:
            return f"it was replayed, and its message is dead again as {self.later}"
        if self.change is not None:
            return f"it was {_PAST[self.change.action]} by {self.change.who} at {moment(self.change.at)}"
        return "it was replayed or discarded, or the id is mistyped"
