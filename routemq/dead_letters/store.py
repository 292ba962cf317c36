"""The dead-letter store: where messages go that no further run would help."""

from collections.abc import Sequence

import redis

from routemq.dead_letters.letter import DeadLetter
from routemq.queues import Keys
from routemq.scripts import script_text


class DeadLetters:
    """Dead letters of all routes.

    Args:
        max_entries: A route with this many is marked full: ingest and workers leave it alone until there is room.
            What they hold in hand by then is buried all the same; nothing is dropped.
    """

    def __init__(self, client: "redis.Redis", keys: Keys, *, max_entries: int | None = None) -> None:
        self._client, self._keys = client, keys
        self._most = max_entries or 0
        self._common_keys = [keys.dead_letters, keys.counters(""), keys.counted_routes]
        self._bury = client.register_script(script_text(__package__, "bury", after="letters"))
        self._bury_direct = client.register_script(script_text(__package__, "bury_direct", after="letters"))

    def bury(self, letter: DeadLetter, *, delivery_tag: str) -> bool:
        """Move the message of this delivery tag from its worker to the dead letters, in one atomic step.

        Returns:
            False when the tag is not held any more; then nothing was done.
        """
        keys = self._keys
        held = self._bury(
            keys=[*self._common_keys, keys.unacked, keys.unacked_index],
            args=[delivery_tag, letter.id, letter.description(), letter.traceback, self._most, b""],
        )
        return bool(held)

    def bury_direct(self, letters: Sequence[tuple[DeadLetter, bytes]]) -> None:
        """Bury messages that never were on a queue, in one round trip.

        Args:
            letters: Each with its list item, as it would have been queued.
        """
        if not letters:
            return
        args: list[str | bytes | int] = [self._most]
        for letter, message in letters:
            args += [letter.id, letter.description(), message, letter.traceback]
        self._bury_direct(keys=self._common_keys, args=args)
