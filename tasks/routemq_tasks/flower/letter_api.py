"""The JSON API of the dead letters; docs/flower.md describes it."""

import base64
import binascii
from typing import Any, cast

from tornado import web

from routemq.dead_letters.filters import LetterFilter
from routemq.dead_letters.frozen import FrozenReplayNotFoundError
from routemq.dead_letters.reading import OpenedLetter
from routemq.dead_letters.replaying import ReplayOptions
from routemq.errors import DeadLetterNotFoundError
from routemq_tasks.flower import letter_json
from routemq_tasks.flower.access import ApiHandler
from routemq_tasks.flower.editing import check_payload
from routemq_tasks.flower.operations import Action, Progress
from routemq_tasks.flower.requests import (
    FILTER_NAMES,
    BadRequestError,
    json_object,
    letter_filter,
    moment,
    whole_number,
)

_MOST_LISTED = 500
_SCAN_LIMIT = 20_000
"""Letters that one page looks at when words are searched for; the answer says where to go on."""

_MOST_CHOSEN = 10_000
_BARS = 60


class LetterHandler(ApiHandler):
    """What the handlers of letters share."""

    def wanted(self) -> LetterFilter:
        """Return the filter of the query."""
        return letter_filter({name: self.get_argument(name, escape=False) for name in FILTER_NAMES})

    async def opened(self, letter_id: str) -> OpenedLetter:
        """Return a letter; 404 when it is not there."""
        try:
            return await self.backend.read(self.backend.letters.get, letter_id)
        except DeadLetterNotFoundError as exc:
            raise _not_found(letter_id) from exc

    def body(self) -> dict[str, Any]:
        """Return the JSON object that was sent."""
        return json_object(self.request.body)


class LetterList(LetterHandler):
    """GET: one page of letters, the newest first."""

    @web.authenticated
    async def get(self) -> None:
        wanted = self.wanted()
        limit = whole_number("limit", self.get_argument("limit", escape=False), default=50, most=_MOST_LISTED)
        after = self.get_argument("after", escape=False) or None
        run = self.backend.read if wanted.is_indexed else self.backend.search
        try:
            page = await run(self.backend.letters.page, wanted, limit=limit, after=after, scan_limit=_SCAN_LIMIT)
        except DeadLetterNotFoundError as exc:
            raise BadRequestError(name="after", value=after, allowed="the `next` of another page") from exc
        await self.answer(
            {
                "letters": [letter_json.listed(letter) for letter in page.letters],
                "next": page.next,
                "scanned": page.scanned,
                "is_indexed": wanted.is_indexed,
            }
        )


class LetterOverview(LetterHandler):
    """GET: counts by route, reason and error; deaths over time; replays that were broken off."""

    @web.authenticated
    async def get(self) -> None:
        # Words, topics and queues have no index; the bars leave them out rather than read every letter each time.
        wanted = self.wanted()
        indexed = LetterFilter(
            route=wanted.route,
            reason=None if wanted.fingerprint else wanted.reason,
            error=wanted.fingerprint,
            since=wanted.since,
            until=wanted.until,
        )
        since = self.get_argument("from", escape=False)
        bars_from = moment("from", since) if since else None
        await self.answer(await self.backend.read(self._overview, indexed, bars_from, wanted == indexed))

    def _overview(self, wanted: LetterFilter, bars_from: float | None, is_exact: bool) -> dict[str, Any]:
        letters = self.backend.letters
        buckets = letters.histogram(wanted, since=bars_from if wanted.since is None else None, buckets=_BARS)
        now = letters.reader.now()
        return {
            **letter_json.overview(letters.stats()),
            "now": now,
            "last_10_minutes": letters.count(LetterFilter(since=now - 600)),
            "bars": {
                "from": buckets[0].start_at,
                "until": buckets[-1].end_at,
                "counts": [bucket.count for bucket in buckets],
                "is_exact": is_exact,
            },
            "matching": letters.count(wanted) if is_exact else None,
            "unfinished": [
                {
                    "id": replay.id,
                    "actor": replay.operation.actor,
                    "detail": replay.operation.detail,
                    "started_at": replay.started_at,
                    "total": replay.total,
                    "remaining": replay.remaining,
                }
                for replay in letters.frozen.all()
                if not self.backend.operations.is_running(replay.id)
            ],
        }


class LetterCount(LetterHandler):
    """GET: how many letters match, and the moment up to which that was counted."""

    @web.authenticated
    async def get(self) -> None:
        wanted = self.wanted()
        now = await self.backend.read(self.backend.letters.reader.now)
        until = now if wanted.until is None else min(now, wanted.until)
        count = await self.backend.search(self.backend.letters.count, _ending(wanted, until))
        await self.answer({"count": count, "until": until})


class LetterDetails(LetterHandler):
    """GET: one letter with its payload, traceback and attempts."""

    @web.authenticated
    async def get(self, letter_id: str) -> None:
        opened = await self.opened(letter_id)
        route = self.backend.router.get(opened.letter.route)
        await self.answer({**letter_json.detailed(opened), "controller": None if route is None else route.controller})


class LetterDownload(LetterHandler):
    """GET: the payload, or the whole message as it lay on its queue, byte for byte and never as a page."""

    @web.authenticated
    async def get(self, letter_id: str, part: str) -> None:
        opened = await self.opened(letter_id)
        name = "".join(mark if mark.isascii() and (mark.isalnum() or mark in "-.") else "_" for mark in letter_id)
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", f'attachment; filename="{name[:100]}.{part}"')
        self.set_header("Content-Security-Policy", "default-src 'none'; sandbox")
        await self.finish(opened.payload if part == "payload" else opened.raw)


class LetterCheck(LetterHandler):
    """POST: whether an edited payload fits the controller. Changes nothing."""

    @web.authenticated
    async def post(self, letter_id: str) -> None:
        payload = _edited(self.body())
        if payload is None:
            raise BadRequestError(name="payload", value="", allowed="the text to check")
        opened = await self.opened(letter_id)
        if opened.task is None:
            raise web.HTTPError(409, f"this is no message that could be replayed: {opened.problem}")
        check = await self.backend.read(check_payload, self.backend.router, opened.task, payload)
        await self.answer({"problem": check.problem, "unchecked": check.unchecked})


class LetterChange(LetterHandler):
    """POST: replay, perhaps with another payload, or discard one letter."""

    @web.authenticated
    async def post(self, letter_id: str, action: str) -> None:
        self.require_change_allowed()
        body = self.body()
        if action == "discard":
            done = await self.backend.read(self.backend.letters.discard, [letter_id], actor=self.actor)
            if not done:
                raise _not_found(letter_id)
        else:
            await self._replay(letter_id, _edited(body), force=body.get("force") is True)
        await self.answer({"done": 1})

    async def _replay(self, letter_id: str, payload: bytes | None, *, force: bool) -> None:
        letters, edits = self.backend.letters, None
        if payload is not None:
            opened = await self.opened(letter_id)
            if opened.task is not None and not force:
                check = await self.backend.read(check_payload, self.backend.router, opened.task, payload)
                if check.problem is not None:
                    raise web.HTTPError(422, check.problem.replace("%", "%%"))
            edits = {letter_id: payload}
        result = await self.backend.read(letters.replay, [letter_id], actor=self.actor, edits=edits, force=force)
        if result.gone:
            raise _not_found(letter_id)
        for refusal in result.refused.values():
            raise web.HTTPError(409, refusal.problem.replace("%", "%%"))


class BulkChange(LetterHandler):
    """POST: replay or discard all letters of a filter, or those that were chosen; answers at once with its progress."""

    @web.authenticated
    async def post(self, action: str) -> None:
        self.require_change_allowed()
        body = self.body()
        if body.get("resume"):
            progress = await self._resumed(str(body["resume"]))
        else:
            progress = await self._started(cast("Action", action), body)
        self.set_status(202)
        await self.answer(progress.as_json())

    async def _started(self, action: Action, body: dict[str, Any]) -> Progress:
        wanted: LetterFilter | list[str]
        if isinstance(body.get("ids"), list) and body["ids"]:
            wanted = [str(letter_id) for letter_id in body["ids"]]
            if len(wanted) > _MOST_CHOSEN:
                raise BadRequestError(name="ids", value=f"({len(wanted)} ids)", allowed=f"at most {_MOST_CHOSEN}")
        elif isinstance(body.get("filter"), dict):
            if unknown := sorted(set(body["filter"]) - set(FILTER_NAMES)):
                # A filter that is spelled wrongly must not become one that matches everything.
                raise BadRequestError(
                    name="filter", value=", ".join(unknown), allowed=f"any of {', '.join(FILTER_NAMES)}"
                )
            wanted = letter_filter(body["filter"])
            now = await self.backend.read(self.backend.letters.reader.now)
            wanted = _ending(wanted, now if wanted.until is None else min(now, wanted.until))
        else:
            raise BadRequestError(name="body", value="", allowed='{"ids": […]} or {"filter": {…}}, {} for all letters')
        options = ReplayOptions(force=body.get("force") is True)
        return self.backend.operations.start(action, wanted, actor=self.actor, options=options)

    async def _resumed(self, replay_id: str) -> Progress:
        try:
            replay = await self.backend.read(self.backend.letters.frozen.get, replay_id)
        except FrozenReplayNotFoundError as exc:
            raise web.HTTPError(404, "This replay is complete, or was begun more than a week ago.") from exc
        return self.backend.operations.resume(replay)


class OperationProgress(LetterHandler):
    """GET: how far a bulk change is."""

    @web.authenticated
    async def get(self, operation_id: str) -> None:
        progress = self.backend.operations.get(operation_id)
        if progress is None:
            raise web.HTTPError(404, "This Flower has not begun such a change since it was started.")
        await self.answer(progress.as_json())


class LetterAudit(LetterHandler):
    """GET: the latest changes: who, when, what, how many."""

    @web.authenticated
    async def get(self) -> None:
        limit = whole_number("limit", self.get_argument("limit", escape=False), default=20, most=_MOST_LISTED)
        entries = await self.backend.read(self.backend.letters.audit, limit=limit)
        await self.answer(
            {
                "changes": [
                    {name: getattr(entry, name) for name in ("at", "who", "action", "count", "detail", "operation")}
                    for entry in entries
                ]
            }
        )


def _ending(wanted: LetterFilter, until: float) -> LetterFilter:
    return letter_filter({**wanted.criteria(), "until": repr(until)})


def _edited(body: dict[str, Any]) -> bytes | None:
    """Return the payload that was sent: `payload` as text, or `payload_base64`; None when there is none."""
    if "payload_base64" in body:
        try:
            return base64.b64decode(str(body["payload_base64"]), validate=True)
        except binascii.Error as exc:
            raise BadRequestError(name="payload_base64", value="(hidden)", allowed="base64") from exc
    text = body.get("payload")
    if text is not None and not isinstance(text, str):
        raise BadRequestError(name="payload", value="(hidden)", allowed="text; put JSON into a string")
    return None if text is None else text.encode("utf-8", "surrogatepass")


def _not_found(letter_id: str) -> web.HTTPError:
    return web.HTTPError(
        404, "There is no dead letter %s: it was replayed or discarded, or the id is mistyped.", letter_id
    )
