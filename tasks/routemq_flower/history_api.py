"""The JSON API of what was done to dead letters, and what came of it; docs/flower.md describes it."""

import re
from typing import Any

from tornado import web

from routemq.dead_letters import FrozenReplayNotFoundError
from routemq.dead_letters.audit import AuditEntry
from routemq.dead_letters.bin import Discard
from routemq.dead_letters.in_flight import InFlight
from routemq.dead_letters.sent import MOST_WATCHED
from routemq.dead_letters.watched import next_run, run_before
from routemq.dead_letters.whereabouts import Whereabouts
from routemq_flower.letter_api import LetterHandler
from routemq_flower.requests import only, whole_number

_MOST_CHANGES = 500
_LETTERS_SHOWN = 200
_OF_LETTERS = ("replay", "discard")
_ONE_LETTER = re.compile(r"^[^\s,:]+:\d+(?:~\d+)?(?=,|$)")
_SHOWN = ("id", "route", "topic", "reason", "exception", "message")


class LetterAudit(LetterHandler):
    """GET: the latest changes: who, when, what, how many; which of them can be undone, and which have a page."""

    @web.authenticated
    async def get(self) -> None:
        only(self.request.query_arguments, ("limit",))
        limit = whole_number("limit", self.get_argument("limit", escape=False), default=20, most=_MOST_CHANGES)
        letters = self.backend.letters
        entries = await self.backend.read(letters.audit, limit=limit)
        discards = [entry.operation for entry in entries if entry.action == "discard"]
        binned = {found.operation.id: found for found in await self.backend.read(letters.bin.some, discards)}
        replays = [entry.operation for entry in entries if entry.action == "replay"]
        known = set(await self.backend.read(letters.frozen.known, replays))
        changes = [
            _change(entry, binned.get(entry.operation)) | {"has_page": entry.operation in known} for entry in entries
        ]
        await self.answer({"changes": changes, "now": await self.backend.read(letters.now)})


class LetterOutcome(LetterHandler):
    """GET: what has become of a letter that is not there any more."""

    @web.authenticated
    async def get(self, letter_id: str) -> None:
        await self.answer(await self.backend.search(self._outcome, letter_id))

    def _outcome(self, letter_id: str) -> dict[str, Any]:
        letters = self.backend.letters
        if letters.is_there(letter_id):
            return {"state": "there", "now": letters.now()}
        found = Whereabouts.of(letters, letter_id)
        note, state, flight = found.note, "gone", None
        if found.later is not None:
            state = "died"
        elif note is not None and note.state != "pending":
            state = note.state
        elif found.discard is not None:
            state = "discarded"
        elif note is not None:
            queues = sorted(self.backend.router.queues) if note.queue is None else [note.queue]
            flight = InFlight.find(letters.client, letters.keys, next_run(letter_id), queues)
            state = "lost" if flight is None else flight.state
        elif found.change is None:
            # A task leads here that has failed and is run again, too.
            queues = sorted(self.backend.router.queues)
            flight = InFlight.find(letters.client, letters.keys, run_before(letter_id), queues)
            state = "gone" if flight is None else flight.state
        return {
            "state": state,
            "by": note.by if note else None,
            "sent_at": note.sent_at if note else None,
            "at": note.at if note else None,
            "later": found.later,
            "replay": note.operation if note is not None and note.is_of_many else None,
            "topic": flight.topic if flight else None,
            "due_at": flight.due_at if flight else None,
            "failures": flight.failures if flight else 0,
            "error": flight.error if flight else None,
            "words": "it has not died" if flight is not None and note is None else str(found),
            "now": letters.now(),
        }


class ReplayDetails(LetterHandler):
    """GET: a replay of many letters, and what has become of their messages."""

    @web.authenticated
    async def get(self, replay_id: str) -> None:
        try:
            await self.answer(await self.backend.search(self._details, replay_id))
        except FrozenReplayNotFoundError as exc:
            raise web.HTTPError(404, "There was no such replay within a week.") from exc

    def _details(self, replay_id: str) -> dict[str, Any]:
        letters = self.backend.letters
        replay = letters.frozen.record(replay_id)
        queues = {*self.backend.router.queues, replay.options.to_queue} - {None}
        outcome = letters.sent.look(replay, sorted(filter(None, queues)))
        progress = self.backend.operations.of_replay(replay_id)
        shown = letters.some(outcome.letters[:_LETTERS_SHOWN])
        return {
            "id": replay.id,
            "who": replay.operation.actor,
            "detail": replay.operation.detail,
            "canary": replay.pace.canary,
            "rate": replay.pace.rate,
            "to_queue": replay.options.to_queue,
            "force": replay.options.force,
            "started_at": replay.started_at,
            "ended_at": replay.ended_at,
            "total": replay.total,
            "remaining": replay.remaining,
            "replayed": replay.replayed,
            "gone": replay.gone,
            "refused": replay.refused,
            "watched": outcome.watched,
            "most_watched": MOST_WATCHED,
            "done": outcome.done,
            "died": outcome.died,
            "retrying": outcome.retrying,
            "waiting": outcome.waiting,
            "letters": [{name: getattr(letter, name) for name in _SHOWN} for letter in shown],
            "is_running": progress is not None and progress.state == "running",
            "note": None if progress is None else progress.error or progress.note,
            "now": letters.now(),
        }


def _change(entry: AuditEntry, discard: Discard | None) -> dict[str, Any]:
    shown = {name: getattr(entry, name) for name in ("at", "who", "action", "count", "detail", "operation")}
    # Of one letter, its own page says what became of it.
    found = _ONE_LETTER.match(entry.detail) if entry.count == 1 and entry.action in _OF_LETTERS else None
    until, letter = None if discard is None else discard.until, None if found is None else found[0]
    return shown | {"undo_until": until, "letter": letter}
