"""The JSON API of what was done to dead letters, and what came of it; docs/flower.md describes it."""

from typing import Any

from tornado import web

from routemq.dead_letters import FrozenReplayNotFoundError
from routemq.dead_letters.audit import AuditEntry
from routemq.dead_letters.bin import Discard
from routemq.dead_letters.sent import MOST_WATCHED
from routemq_flower.letter_api import LetterHandler
from routemq_flower.requests import only, whole_number

_MOST_CHANGES = 500
_LETTERS_SHOWN = 200
_SHOWN = ("id", "route", "topic", "reason", "exception", "message")


class LetterAudit(LetterHandler):
    """GET: the latest changes: who, when, what, how many; which of them can be undone, and which have a page."""

    @web.authenticated
    async def get(self) -> None:
        only(self.request.query_arguments, ("limit",))
        limit = whole_number("limit", self.get_argument("limit", escape=False), default=20, most=_MOST_CHANGES)
        letters = self.backend.letters
        entries = await self.backend.read(letters.audit, limit=limit)
        binned = {found.operation.id: found for found in await self.backend.read(letters.bin.all)}
        replays = [entry.operation for entry in entries if entry.action == "replay"]
        known = set(await self.backend.read(letters.frozen.known, replays))
        changes = [
            _change(entry, binned.get(entry.operation)) | {"has_page": entry.operation in known} for entry in entries
        ]
        await self.answer({"changes": changes, "now": await self.backend.read(letters.now)})


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
    return shown | {"undo_until": None if discard is None else discard.until}
