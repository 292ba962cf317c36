"""What becomes of the messages of a replay: done, dead again, or on their way."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

import redis

from routemq.dead_letters.frozen import KEPT_S, FrozenReplay
from routemq.dead_letters.watched import WatchedMessages, next_letter, next_run
from routemq.queues import Keys
from routemq.text import stored_text

MOST_WATCHED = 10_000
"""Messages of a replay; what becomes of further ones is not looked for."""

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
    """The messages of replays of many letters; the notes of these go when they are read after the replay has ended."""

    client: "redis.Redis"
    keys: Keys

    @property
    def _watched(self) -> WatchedMessages:
        return WatchedMessages(self.client, self.keys)

    def watch(self, replay: FrozenReplay, letter_ids: Sequence[str], *, now: float) -> None:
        """Watch what these letters become, as far as there is room."""
        key = self.keys.dead_frozen_sent(replay.id)
        some = letter_ids[: max(0, MOST_WATCHED - self.client.scard(key))]
        if some and (
            some := self._watched.watch(
                some, replay.operation, now=now, is_of_many=True, to_queue=replay.options.to_queue
            )
        ):
            pipe = self.client.pipeline()
            pipe.sadd(key, *some)
            pipe.expire(key, KEPT_S)
            pipe.execute()

    def leave_out(self, replay: FrozenReplay, letter_ids: Sequence[str]) -> None:
        """Watch no longer what was not replayed after all."""
        if letter_ids:
            self.client.srem(self.keys.dead_frozen_sent(replay.id), *letter_ids)
            self._watched.leave_out(letter_ids, replay.operation)

    def look(self, replay: FrozenReplay, queues: Collection[str]) -> ReplayOutcome:
        """Return how they stand.

        Args:
            queues: Where those that failed wait.
        """
        sent, died = self.keys.dead_frozen_sent(replay.id), self.keys.dead_frozen_died(replay.id)
        names = [stored_text(name) for name in cast("set[bytes]", self.client.smembers(sent))]
        done_now: list[str] = []
        died_now: list[str] = []
        undecided: set[bytes] = set()
        for some in _parts(names):
            notes = list(self._watched.notes(some))
            pipe = self.client.pipeline(transaction=False)
            pipe.hmget(self.keys.dead_entries, [next_letter(name) for name in some])
            pipe.hmget(self.keys.dead_entries, some)
            for name, note, letter, unreplayed in zip(some, notes, *pipe.execute(), strict=True):
                if letter is not None or (note is not None and note.state == "died"):
                    died_now.append(name)
                elif note is not None and note.state == "done":
                    done_now.append(name)
                # Else its step was killed between the note and the replay.
                elif unreplayed is None:
                    undecided.add(next_run(name).encode())
        self._note(died, sent, died_now)
        again = [stored_text(name) for name in cast("set[bytes]", self.client.smembers(died))]
        there = self.client.hmget(self.keys.dead_entries, again) if again else []
        done = self._settled(replay, sent, done_now)
        return ReplayOutcome(
            watched=done + len(again) + len(undecided),
            done=done,
            died=len(again),
            retrying=self._retrying(queues, undecided),
            letters=tuple(name for name, letter in zip(again, there, strict=True) if letter is not None),
        )

    def _note(self, died: str, sent: str, names: Sequence[str]) -> None:
        # Kept apart: what is replayed once more, or discarded, has died again all the same.
        for some in _parts(names):
            pipe = self.client.pipeline()
            pipe.sadd(died, *map(next_letter, some))
            pipe.expire(died, KEPT_S)
            pipe.srem(sent, *some)
            pipe.execute()
            self._watched.forget(some)

    def _settled(self, replay: FrozenReplay, sent: str, done_now: Sequence[str]) -> int:
        """Return how many are done; once the replay has ended nobody else reads the notes, and a number is kept."""
        if replay.ended_at is None:
            return replay.done + len(done_now)
        done = replay.done
        for some in _parts(done_now):
            removed = self.client.srem(sent, *some)
            self._watched.forget(some)
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
