"""No route has more fingerprints than a person could look through, and every count of them stays quick."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import redis

from routemq.dead_letters.fingerprint import OTHER
from routemq.dead_letters.letter import DeadLetter
from routemq.queues import Keys

MOST_FINGERPRINTS = 200
"""Of one route. A few more may come in when several processes bury at once."""

_OTHER_FIELDS = 20
"""What a route's counters hold besides: by reason and by queue, and what was done."""


@dataclass(slots=True)
class FingerprintLimit:
    """Gives letters of errors that are new to a route with very many the fingerprint of all others.

    Some errors are of a new kind each time, whatever is taken for a part of the message in their texts.
    """

    client: "redis.Redis"
    keys: Keys
    most: int = MOST_FINGERPRINTS
    _known: dict[str, set[str]] = field(default_factory=dict)

    def limited(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Return the letters; one round trip if there are errors that this process has not met."""
        groups = dict.fromkeys((letter.route, letter.fingerprint) for letter in letters)
        unknown = [group for group in groups if group[1] != OTHER and group[1] not in self._known.get(group[0], ())]
        rest = self._beyond(unknown) if unknown else set()
        for route, fingerprint in set(unknown) - rest:
            known = self._known.setdefault(route, set())
            if len(known) >= 2 * self.most:
                # Many came and went.
                known = self._known[route] = set()
            known.add(fingerprint)
        return [
            replace(letter, fingerprint=OTHER) if (letter.route, letter.fingerprint) in rest else letter
            for letter in letters
        ]

    def _beyond(self, groups: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those that are new to their route, which has enough."""
        pipe = self.client.pipeline(transaction=False)
        for route, fingerprint in groups:
            pipe.hexists(self.keys.dead_counters(route), f"error:{fingerprint}")
            pipe.hlen(self.keys.dead_counters(route))
        # What is wrong with a key is the script's to say, which looks at all of them.
        answers = pipe.execute(raise_on_error=False)
        beyond: set[tuple[str, str]] = set()
        added: Counter[str] = Counter()
        for group, is_there, length in zip(groups, answers[::2], answers[1::2], strict=True):
            if is_there or isinstance(length, Exception):
                continue
            if length + added[group[0]] >= self.most + _OTHER_FIELDS:
                beyond.add(group)
            added[group[0]] += 1
        return beyond
