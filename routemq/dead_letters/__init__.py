"""Dead letters: messages that no further run would help, kept until a person decides."""

from routemq.dead_letters.archive import ArchivedLetter, BrokenLineError
from routemq.dead_letters.audit import AuditEntry, Operation
from routemq.dead_letters.bin import Discard, NotInBinError
from routemq.dead_letters.census import Bucket, ErrorGroup, LetterGroup, LetterStats
from routemq.dead_letters.frozen import FrozenReplay, FrozenReplayNotFoundError
from routemq.dead_letters.letter import REASONS, DeadLetter, Reason
from routemq.dead_letters.letter_filter import LetterFilter, LetterFilterError
from routemq.dead_letters.opened import OpenedLetter
from routemq.dead_letters.reading import Page
from routemq.dead_letters.replaying import MOST_GENERATIONS, QueueNameError, ReplayOptions, ReplayResult
from routemq.dead_letters.store import DeadLetters

__all__ = [
    "MOST_GENERATIONS",
    "REASONS",
    "ArchivedLetter",
    "AuditEntry",
    "BrokenLineError",
    "Bucket",
    "DeadLetter",
    "DeadLetters",
    "Discard",
    "ErrorGroup",
    "FrozenReplay",
    "FrozenReplayNotFoundError",
    "LetterFilter",
    "LetterFilterError",
    "LetterGroup",
    "LetterStats",
    "NotInBinError",
    "OpenedLetter",
    "Operation",
    "Page",
    "QueueNameError",
    "Reason",
    "ReplayOptions",
    "ReplayResult",
]
