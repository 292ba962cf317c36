"""The scripts that make a message a dead letter."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import redis

from routemq.dead_letters.fingerprint_limit import FingerprintLimit
from routemq.dead_letters.letter import DeadLetter
from routemq.dead_letters.redaction import Redaction
from routemq.lifecycle.moves import Burial, Moves
from routemq.queues import Keys


class Burials:
    """Buries messages, without the values that must not be kept.

    Args:
        most: Most dead letters of a route, 0 for any number.
        release: What runs here.
    """

    def __init__(
        self,
        client: "redis.Redis",
        keys: Keys,
        *,
        most: int,
        redaction: Redaction | None,
        release: str | None,
    ) -> None:
        self._client, self._keys, self._redaction, self._release = client, keys, redaction, release
        self._fingerprints = FingerprintLimit(client, keys)
        self._moves = Moves(client, keys, most_letters=most)

    def bury(self, letter: DeadLetter, *, delivery_tag: str) -> DeadLetter | None:
        """Move a message from its worker to the dead letters; see `DeadLetters.bury`."""
        instead = b""
        if self._redaction is not None:
            record = cast("bytes | None", self._client.hget(self._keys.unacked, delivery_tag))
            if record is None:
                return None
            letter, instead = self._redaction.of_record(letter, record)
        (letter,) = self._fingerprints.limited([replace(letter, release=self._release)])
        return letter if self._moves.bury(_burial(letter, instead), tag=delivery_tag) else None

    def bury_direct(self, letters: Sequence[tuple[DeadLetter, bytes]]) -> None:
        """Bury messages that never were on a queue; see `DeadLetters.bury_direct`.

        Args:
            letters: Each with its list item, as it would have been queued.
        """
        if not letters:
            return
        if self._redaction is not None:
            letters = [self._redaction.of_item(letter, item) for letter, item in letters]
        limited = self._fingerprints.limited([replace(letter, release=self._release) for letter, _ in letters])
        self._moves.bury_direct([_burial(kept, item) for kept, (_, item) in zip(limited, letters, strict=True)])


def _burial(letter: DeadLetter, message: bytes) -> Burial:
    return Burial(id=letter.id, description=letter.description(), traceback=letter.traceback, message=message)
