"""The dead-letter store: where messages go that no further run would help.

Longer than other files, because it is the one door: whoever asks what can be done with letters sees all of it here.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import cast

import redis

from routemq.dead_letters.archive import ArchivedLetter
from routemq.dead_letters.audit import AuditEntry, Operation, read_audit
from routemq.dead_letters.bin import Bin
from routemq.dead_letters.burying import Burials
from routemq.dead_letters.canary import Canary
from routemq.dead_letters.census import Bucket, LetterStats, read_histogram, read_stats
from routemq.dead_letters.changes import BATCH, LetterChanges
from routemq.dead_letters.frozen import FrozenReplay, FrozenReplays, SentCanaries
from routemq.dead_letters.letter import DeadLetter
from routemq.dead_letters.letter_filter import LetterFilter
from routemq.dead_letters.reading import ALL, LetterReader
from routemq.dead_letters.redaction import Redaction
from routemq.dead_letters.replaying import ReplayOptions, ReplayPace, ReplayResult
from routemq.dead_letters.sent import SentMessages
from routemq.dead_letters.watched import WatchedMessages
from routemq.lifecycle.moves import BinRoom
from routemq.lifecycle.scripts import UnusableKeyError
from routemq.queues import Keys
from routemq.refusals import explain
from routemq.settings import Settings
from routemq.text import stored_text

logger = logging.getLogger(__name__)

_MOST_DIGITS = 18


class DeadLetters(LetterReader):
    """Dead letters of all routes: what reads them, and what changes them.

    Attributes:
        redaction: What logs and monitors must not show either.

    Args:
        max_entries: A route with this many is marked full: workers leave its queue alone until there is room.
            What they hold in hand by then is buried all the same; nothing is dropped.
        redaction: Takes values out of messages before they are kept.
        bin_s: How long discarded letters can be brought back.
        release: What runs here; the letters that are buried tell it.
    """

    def __init__(
        self,
        client: "redis.Redis",
        keys: Keys,
        *,
        max_entries: int | None = None,
        redaction: Redaction | None = None,
        bin_s: float = 86_400.0,
        release: str | None = None,
    ) -> None:
        super().__init__(client, keys)
        self.frozen = FrozenReplays(client, keys)
        self.sent = SentMessages(client, keys)
        self.watched = WatchedMessages(client, keys)
        self.bin = Bin(client, keys, self.reports)
        self.redaction = redaction
        self._burials = Burials(client, keys, most=max_entries or 0, redaction=redaction, release=release)
        self._changes = LetterChanges(client, keys, most=max_entries or 0, room=BinRoom(kept_s=bin_s))

    @classmethod
    def of(cls, settings: Settings, client: "redis.Redis", *, buries: bool = True) -> "DeadLetters":
        """Return the store as the settings want it.

        Args:
            buries: Whether the process buries messages; one that does not need not have what redacts them.

        Raises:
            ConfigurationError: There is no such function as DLQ_REDACT_HOOK names.
        """
        # With an archive the oldest make room; without one the route stops.
        limit = settings.dlq_max_entries if settings.dlq_archive_dir is None else None
        redaction = Redaction.of(settings) if buries else None
        bin_s = settings.dlq_bin_hours * 3600.0
        return cls(
            client,
            Keys(settings.key_prefix),
            max_entries=limit,
            redaction=redaction,
            bin_s=bin_s,
            release=settings.release,
        )

    def bury(self, letter: DeadLetter, *, delivery_tag: str) -> DeadLetter | None:
        """Move the message of this delivery tag from its worker to the dead letters, in one atomic step.

        Returns:
            The letter as it is kept, which alone may be told of; None when the tag is not held any more, and nothing
            was done.
        """
        return self._burials.bury(letter, delivery_tag=delivery_tag)

    def bury_direct(self, letters: Sequence[tuple[DeadLetter, bytes]]) -> None:
        """Bury messages that never were on a queue, in one round trip.

        Args:
            letters: Each with its list item, as it would have been queued.
        """
        self._burials.bury_direct(letters)

    def stats(self, wanted: LetterFilter = ALL, *, most_errors: int = 20) -> LetterStats:
        """Return what is there by route, reason and error, as far as the indexes know the filter."""
        return read_stats(self, wanted, most_errors=most_errors)

    def histogram(
        self,
        wanted: LetterFilter = ALL,
        *,
        since: float | None = None,
        until: float | None = None,
        buckets: int = 40,
    ) -> tuple[Bucket, ...]:
        """Return the deaths over time of the letters that are there.

        Args:
            since: Unix seconds; by default the oldest letter's.
            until: Unix seconds; by default now.
        """
        return read_histogram(self, wanted, since=since, until=until, buckets=buckets)

    def full_routes(self) -> dict[str, str]:
        """Return the routes that may not be consumed, with their queues: they have as many dead letters as they may."""
        found = cast("dict[bytes, bytes]", self.client.hgetall(self.keys.dead_full_routes))
        return {stored_text(route): stored_text(queue) for route, queue in found.items()}

    def replay(
        self,
        ids: Iterable[str],
        *,
        actor: str,
        edits: Mapping[str, bytes] | None = None,
        to_queue: str | None = None,
        force: bool = False,
    ) -> ReplayResult:
        """Put letters back on their queues, each at most once however many ask for it.

        Args:
            edits: New payloads by id.
        """
        wanted = list(dict.fromkeys(ids))
        options = ReplayOptions(to_queue=to_queue, force=force)
        # Which payload was sent instead, without keeping it.
        edited = [f"edited, sha256 {hashlib.sha256(payload).hexdigest()[:16]}" for payload in (edits or {}).values()]
        words = (some(wanted), *edited[:1], ReplayPace().in_words(options))
        operation = Operation(actor=actor, detail=", ".join(filter(None, words)))
        results = []
        for first in range(0, len(wanted), BATCH):
            batch = wanted[first : first + BATCH]
            self._watch(
                partial(self.watched.watch, batch, operation, now=self.now(), is_of_many=False, to_queue=to_queue)
            )
            result = self._changes.replay(batch, operation, options, edits or {})
            unsent = batch if result is None else [*result.gone, *result.refused]
            self._watch(partial(self.watched.leave_out, unsent, operation))
            results.append(result)
        return ReplayResult(
            replayed=tuple(name for result in results if result for name in result.replayed),
            queues=frozenset(queue for result in results if result for queue in result.queues),
            gone=tuple(name for result in results if result for name in result.gone),
            refused={name: exc for result in results if result for name, exc in result.refused.items()},
        )

    def freeze(
        self,
        wanted: LetterFilter | Iterable[str],
        *,
        actor: str,
        options: ReplayOptions | None = None,
        pace: ReplayPace | None = None,
        detail: str | None = None,
    ) -> FrozenReplay:
        """Freeze the letters that match now, the oldest first, for a replay in steps; nothing is replayed yet.

        Args:
            wanted: A filter, or ids in the order in which they are replayed.
            detail: What the audit calls them.
        """
        if isinstance(wanted, LetterFilter):
            detail = detail or str(wanted)
            ids: Iterable[str] = (
                (place.letter_id.decode("utf-8", "replace") for place in self.positions(wanted, oldest_first=True))
                if wanted.is_indexed
                else (letter.id for letter in self.letters(wanted, oldest_first=True))
            )
        else:
            ids = list(dict.fromkeys(wanted))
            detail = detail or some(ids)
        options, pace = options or ReplayOptions(), pace or ReplayPace()
        operation = Operation(actor=actor, detail=", ".join(filter(None, (detail, pace.in_words(options)))))
        return self.frozen.begin(ids, operation, options, pace=pace, now=self.now())

    def unfinished_replays(self) -> tuple[FrozenReplay, ...]:
        """Return the replays that are not complete, the newest first."""
        return self.frozen.all()

    def unfinished_replay(self, replay_id: str) -> FrozenReplay:
        """Return a replay that is not complete.

        Raises:
            FrozenReplayNotFoundError: There is none with this id.
        """
        return self.frozen.get(replay_id)

    def give_up(self, replay: FrozenReplay) -> None:
        """Forget a replay; letters it has not come to stay where they are."""
        self.frozen.forget(replay.id)

    def replay_step(
        self, replay: FrozenReplay, *, limit: int = BATCH, pace: ReplayPace | None = None
    ) -> ReplayResult | None:
        """Replay the next letters of a frozen set, in one atomic step, and watch what becomes of their messages.

        Args:
            pace: Its rate is that of all who are at this replay together. While a step would be too soon, nothing goes
                and the result says how long that is.

        Returns:
            None when nothing is left; then the replay is complete.
        """
        each_s = 0.0 if pace is None else pace.each_s
        while ids := self.frozen.head(replay.id, min(limit, BATCH)):
            if each_s and (wait_s := self.frozen.wait_s(replay.id, each_s, now=self.now())):
                return ReplayResult(wait_s=wait_s)
            result = self._replay_some(replay, ids, each_s=each_s)
            if result is not None:
                return result
        self.frozen.end(replay.id, now=self.now())
        return None

    def _replay_some(self, replay: FrozenReplay, ids: Sequence[str], *, each_s: float = 0.0) -> ReplayResult | None:
        """Replay these, if they are the next ones and it is time; None when another process has."""
        self._watch(partial(self.sent.watch, replay, ids, now=self.now()))
        try:
            result = self._changes.replay(ids, replay.operation, replay.options, {}, frozen=True, each_s=each_s)
        except redis.ResponseError:
            self._watch(partial(self.sent.leave_out, replay, ids))
            raise
        if result is not None:
            self._watch(partial(self.sent.leave_out, replay, [*result.gone, *result.refused]))
        return result

    def _watch(self, work: Callable[[], object]) -> None:
        try:
            work()
        # A Redis that is full, or another program's key: the messages are replayed all the same, unwatched.
        except redis.ResponseError as exc:
            logger.warning("it will not be known what becomes of replayed messages: %s", explain(exc))

    def replay_canaries(self, replay: FrozenReplay, *, limit: int) -> tuple[ReplayResult, Canary] | None:
        """Replay the first letters of a frozen set, unless another process has, and watch what becomes of them.

        Whoever goes on with the replay waits for the same canaries, until `canaries_judged`.

        Returns:
            What was replayed here, and the canaries; None when they were judged, or no letter is left.
        """
        known = self.frozen.record(replay.id)
        head = self.frozen.head(replay.id, min(limit, BATCH))
        if known.is_judged or not (head or known.canaries):
            return None
        canaries = known.canaries
        if canaries is None:
            queues = {replay.options.to_queue or letter.queue for letter in self.some(head)}
            first = SentCanaries(letters=tuple(head), queues=tuple(sorted(queues)))
            canaries = self.frozen.send_canaries(replay.id, first)
        ids, result = list(canaries.letters), None
        # None at all, when the first ones were all gone or refused.
        if ids and self.frozen.head(replay.id, len(ids)) == ids:
            to_queue = replay.options.to_queue
            self.watched.watch(
                ids, replay.operation, now=self.now(), is_of_many=True, to_queue=to_queue, needs_all=True
            )
            result = self._replay_some(replay, ids)
        if result is not None:
            canaries = SentCanaries(letters=result.replayed, queues=tuple(sorted(result.queues)))
            self.frozen.canaries_sent(replay.id, canaries)
        letters = canaries.letters if result is not None else self.gone(ids)
        canary = Canary(client=self.client, keys=self.keys, letters=letters, queues=canaries.queues)
        return result or ReplayResult(), canary

    def canaries_judged(self, replay: FrozenReplay) -> None:
        """Note that somebody has seen what became of the canaries: who goes on does not wait for them."""
        self.frozen.judge(replay.id)

    def discard(
        self,
        ids: Iterable[str],
        *,
        actor: str,
        operation: Operation | None = None,
        action: str = "discard",
        for_good: bool = False,
    ) -> tuple[str, ...]:
        """Take letters away and return the ids of those that were there; the bin has what was not for good.

        What cannot be read (`damaged`) stays: nobody knows which indexes it is in.
        """
        wanted = list(dict.fromkeys(ids))
        operation = operation or Operation(actor=actor, detail=some(wanted))
        done: list[str] = []
        for first in range(0, len(wanted), BATCH):
            batch = wanted[first : first + BATCH]
            done += self._changes.discard(batch, operation, action, for_good=for_good)
        return tuple(done)

    def undo(self, discard: str, *, actor: str, operation: Operation | None = None) -> Iterator[int]:
        """Bring back what an operation has discarded, a step at a time; yields how many letters each brought.

        Raises:
            NotInBinError: Nothing of it is in the bin.
        """
        found = self.bin.get(discard)
        operation = operation or Operation(actor=actor, detail=f"discard {discard} ({found.operation.detail})")
        ids = self.bin.ids(discard)
        for first in range(0, len(ids), BATCH):
            yield self._changes.undo(ids[first : first + BATCH], operation, of=discard)

    def archived(self, letters: Sequence[DeadLetter]) -> Iterator[ArchivedLetter]:
        """Yield those of the letters that are still there and can be read, with their bytes and tracebacks."""
        if not letters:
            return
        digests = sorted({letter.traceback_digest for letter in letters if letter.traceback_digest})
        pipe = self.client.pipeline(transaction=False)
        pipe.hmget(self.keys.dead_raw, [letter.id for letter in letters])
        if digests:
            pipe.hmget(self.keys.dead_tracebacks, digests)
        raws, *texts = pipe.execute()
        tracebacks = dict(zip(digests, texts[0], strict=True)) if digests else {}
        for letter, raw in zip(letters, raws, strict=True):
            if raw is not None and letter.damage is None:
                text = tracebacks.get(letter.traceback_digest or "") or b""
                yield ArchivedLetter(letter.with_traceback(text.decode("utf-8", "replace")), raw)

    def import_batch(
        self, letters: Sequence[ArchivedLetter], operation: Operation, *, file_digest: str, lines_before: int
    ) -> int | None:
        """Bring letters of a file back, with the times they had; those that are there already stay as they are.

        Args:
            file_digest: Names the file: an import that was broken off goes on after `imported_lines`.
            lines_before: Lines of the file that earlier batches brought.

        Returns:
            How many were not there, or None when another process has brought these lines.
        """
        return self._changes.import_(letters, operation, file_digest=file_digest, lines_before=lines_before)

    def imported_lines(self, file_digest: str) -> int:
        """Return how many lines of a file an import brought that was broken off.

        Raises:
            UnusableKeyError: Another program's key lies there.
        """
        key = self.keys.dead_import(file_digest)
        found = cast("bytes", self.client.get(key) or b"0")
        if not found.isdigit() or len(found) > _MOST_DIGITS:
            raise UnusableKeyError({"key": key, "found": "string", "wanted": "number of lines"})
        return int(found)

    def import_ended(self, file_digest: str) -> None:
        """Forget how far a file was imported: importing it again begins at its first line."""
        self.client.delete(self.keys.dead_import(file_digest))

    def audit(self, *, limit: int = 50) -> tuple[AuditEntry, ...]:
        """Return the last changes, the newest first."""
        return read_audit(self.client, self.keys, limit=limit)


def some(ids: Sequence[str]) -> str:
    """Return what the audit calls letters that were named one by one."""
    shown = ", ".join(ids[:3])
    return shown if len(ids) <= 3 else f"{shown} and {len(ids) - 3} more"
