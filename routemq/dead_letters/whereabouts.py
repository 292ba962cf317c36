"""What became of a letter that is not there any more, as far as Redis still knows."""

from dataclasses import dataclass

from routemq.dead_letters.audit import AuditEntry
from routemq.dead_letters.bin import Discard
from routemq.dead_letters.store import DeadLetters
from routemq.dead_letters.times import moment
from routemq.dead_letters.watched import Note

_CHANGES_LOOKED_AT = 1000
_PAST = {"replay": "replayed", "discard": "discarded", "archive": "archived", "purge": "written to a file"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """Where a letter went.

    Attributes:
        later: The letter that its message became, when it was replayed and died again.
        discard: With what it was discarded, when it is in the bin.
        change: Who replayed or discarded it, when that was done to this letter by its id.
        note: What is known of its message, when it was replayed within a day.
    """

    later: str | None = None
    discard: Discard | None = None
    change: AuditEntry | None = None
    note: Note | None = None

    @classmethod
    def of(cls, store: DeadLetters, letter_id: str) -> "Whereabouts":
        """Look for a letter that is not there."""
        task_id, _, generation = letter_id.rpartition(":")
        later = store.find(task_id) if generation else None
        if later == letter_id:
            # Its description was left behind.
            later = None
        (note,) = store.watched.notes([letter_id])
        discard = None if note else store.bin.holding(letter_id)
        change = next(
            (entry for entry in store.audit(limit=_CHANGES_LOOKED_AT)
             if entry.action in _PAST and letter_id in entry.detail.replace(",", " ").split()),
            None,
        )  # fmt: skip
        return cls(later=later, discard=discard, change=change, note=note)

    def __str__(self) -> str:
        if self.discard is not None:
            by, at, until = self.discard.operation.actor, moment(self.discard.at), moment(self.discard.until)
            return f"it was discarded by {by} at {at}, and is in the bin until {until}"
        replayed = "it was replayed"
        if self.note is not None and self.note.sent_at is not None:
            replayed += f" by {self.note.by} at {moment(self.note.sent_at)}"
        if self.later is not None:
            return f"{replayed}, and its message is dead again as {self.later}"
        if self.note is not None:
            at = "" if self.note.at is None else f" at {moment(self.note.at)}"
            ends = {"done": f"was done{at}", "died": f"died again{at}, and that letter is gone as well"}
            return f"{replayed}, and its message {ends.get(self.note.state, 'is on its way')}"
        if self.change is not None:
            return f"it was {_PAST[self.change.action]} by {self.change.who} at {moment(self.change.at)}"
        return "it was replayed or discarded, or the id is mistyped"
