"""What becomes of the messages of a replay: done, dead again, or on their way."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

import redis

from routemq.dead_letters.canary import DONE, next_letter, run_of
from routemq.dead_letters.frozen import KEPT_S, FrozenReplay
from routemq.queues import Keys

MOST_WATCHED = 10_000
"""Messages of a replay; what becomes of further ones is not looked for."""

_MOST_NOTES = 50_000
"""Messages of all replays: each costs a note in Redis until it is known what became of it."""

_NOTES_KEPT_S = 6 * 3600
_CHUNK = 1000
_MOST_LOOKED_AT = 20_000
_TAG = re.compile(rb'"delivery_tag": ?"([^"]*)\.\d+"')


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOutcome:
    """How the messages of a replay stand.

    Attributes:
        watched: Those that were sent first, at most `MOST_WATCHED`; the other numbers are about these.
        done: A worker was done with them.
        died: They were dead again; `letters` are those of them that are there.
        retrying: They failed, and wait for their next run.
        waiting: They are on their way: on their queue, or in a worker's hands.
    """

    watched: int
    done: int
    died: int
    retrying: int
    letters: tuple[str, ...]

    @property
    def waiting(self) -> int:
        """Those of which nothing else is known."""
        return max(0, self.watched - self.done - self.died - self.retrying)


@dataclass(frozen=True, slots=True)
class SentMessages:
    """Watches the messages of replays.

    Before it is replayed a message is noted as a canary is, so that the script that acknowledges it notes that it is
    done; the notes go when they are read after the replay has ended.
    """

    client: "redis.Redis"
    keys: Keys

    def watch(self, replay_id: str, letter_ids: Sequence[str]) -> None:
        """Watch what these letters become, as far as there is room."""
        key = self.keys.dead_frozen_sent(replay_id)
        pipe = self.client.pipeline(transaction=False)
        pipe.scard(key)
        pipe.hlen(self.keys.dead_canaries)
        sent, notes = pipe.execute()
        some = letter_ids[: max(0, min(MOST_WATCHED - sent, _MOST_NOTES - notes))]
        if not some:
            return
        pipe = self.client.pipeline()
        for name in some:
            pipe.hsetnx(self.keys.dead_canaries, run_of(next_letter(name)), "")
        pipe.expire(self.keys.dead_canaries, _NOTES_KEPT_S)
        pipe.sadd(key, *some)
        pipe.expire(key, KEPT_S)
        pipe.execute()

    def leave_out(self, replay_id: str, letter_ids: Sequence[str]) -> None:
        """Watch no longer what was not replayed after all."""
        if letter_ids:
            pipe = self.client.pipeline()
            pipe.srem(self.keys.dead_frozen_sent(replay_id), *letter_ids)
            pipe.hdel(self.keys.dead_canaries, *(run_of(next_letter(name)) for name in letter_ids))
            pipe.execute()

    def look(self, replay: FrozenReplay, queues: Collection[str]) -> ReplayOutcome:
        """Return how they stand.

        Args:
            queues: Where those that failed wait.
        """
        sent, died = self.keys.dead_frozen_sent(replay.id), self.keys.dead_frozen_died(replay.id)
        names = [name.decode() for name in cast("set[bytes]", self.client.smembers(sent))]
        done_now: list[str] = []
        undecided: set[bytes] = set()
        unsent = 0
        for some in _parts(names):
            pipe = self.client.pipeline(transaction=False)
            pipe.hmget(self.keys.dead_canaries, [run_of(next_letter(name)) for name in some])
            pipe.hmget(self.keys.dead_entries, [next_letter(name) for name in some])
            pipe.hmget(self.keys.dead_entries, some)
            for name, note, letter, unreplayed in zip(some, *pipe.execute(), strict=True):
                if letter is not None:
                    self._note(died, sent, name)
                elif note == DONE:
                    done_now.append(name)
                elif unreplayed is not None:
                    # A step that was killed between the note and the replay.
                    unsent += 1
                else:
                    undecided.add(run_of(next_letter(name)).encode())
        again = [name.decode() for name in cast("set[bytes]", self.client.smembers(died))]
        there = self.client.hmget(self.keys.dead_entries, again) if again else []
        done = self._settled(replay, sent, done_now)
        return ReplayOutcome(
            watched=done + len(again) + len(undecided),
            done=done,
            died=len(again),
            retrying=self._retrying(queues, undecided),
            letters=tuple(name for name, letter in zip(again, there, strict=True) if letter is not None),
        )

    def _note(self, died: str, sent: str, name: str) -> None:
        # Kept apart: what is replayed once more, or discarded, has died again all the same.
        pipe = self.client.pipeline()
        pipe.sadd(died, next_letter(name))
        pipe.expire(died, KEPT_S)
        pipe.srem(sent, name)
        pipe.hdel(self.keys.dead_canaries, run_of(next_letter(name)))
        pipe.execute()

    def _settled(self, replay: FrozenReplay, sent: str, done_now: Sequence[str]) -> int:
        """Return how many are done; once the replay has ended nobody else reads the notes, and a number is kept."""
        if replay.ended_at is None:
            return replay.done + len(done_now)
        done = replay.done
        for some in _parts(done_now):
            pipe = self.client.pipeline()
            pipe.srem(sent, *some)
            pipe.hdel(self.keys.dead_canaries, *(run_of(next_letter(name)) for name in some))
            removed, _ = pipe.execute()
            done = int(self.client.hincrby(self.keys.dead_frozen(replay.id), "done", removed))
        return done

    def _retrying(self, queues: Collection[str], undecided: set[bytes]) -> int:
        found: set[bytes] = set()
        for queue in queues if undecided else ():
            for item, _ in islice(self.client.zscan_iter(self.keys.delayed(queue), count=_CHUNK), _MOST_LOOKED_AT):
                tag = _TAG.search(item)
                if tag is not None and tag[1] in undecided:
                    found.add(tag[1])
        return len(found)


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), _CHUNK):
        yield names[first : first + _CHUNK]
