"""Dead letters: messages that no further run would help, kept until a person decides."""

from routemq.dead_letters.letter import REASONS, DeadLetter, Reason
from routemq.dead_letters.store import DeadLetters

__all__ = ["REASONS", "DeadLetter", "DeadLetters", "Reason"]
