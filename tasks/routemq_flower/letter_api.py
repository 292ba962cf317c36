"""The JSON API of the dead letters, as far as it only looks; docs/flower.md describes it."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, TypeVar

from tornado import web

from routemq.dead_letters.decoded import decoded_payload
from routemq.dead_letters.known_names import UnknownName
from routemq.dead_letters.letter_filter import CRITERIA, LetterFilter
from routemq.dead_letters.neighbours import Neighbours
from routemq.dead_letters.opened import OpenedLetter
from routemq.dead_letters.order import Position
from routemq.dead_letters.retention import Overdue
from routemq.dead_letters.strange_routes import one_of_each_route
from routemq.dead_letters.whereabouts import Whereabouts
from routemq.errors import DeadLetterNotFoundError
from routemq_flower import letter_json
from routemq_flower.access import ApiHandler
from routemq_flower.requests import (
    BadRequestError,
    json_object,
    letter_filter,
    one_of,
    only,
    unix_seconds,
    whole_number,
)

_MOST_LISTED = 500
_SCAN_LIMIT = 20_000
"""Letters that one page looks at when words are searched for; the answer says where to go on."""

_BARS = 60
_ERRORS = 20

_MOST_OPENED_BYTES = 4 * 1024 * 1024
"""A larger message is not decoded to be looked at: ingest lets in a payload of 1 MiB, and base64 doubles it nearly."""

_PEEKED_BYTES = 256 * 1024

R = TypeVar("R")


class LetterHandler(ApiHandler):
    """What the handlers of letters share."""

    def wanted(self, *others: str) -> LetterFilter:
        """Return the filter of the query, which may have these other arguments."""
        only(self.request.query_arguments, (*CRITERIA, *others))
        given = {name: self.get_argument(name, strip=False, escape=False) for name in CRITERIA}
        return letter_filter({name: value for name, value in given.items() if value is not None})

    async def of_letter(self, function: Callable[[str], R], letter_id: str) -> R:
        """Return what a function of the store says of a letter; 404 when it is not there."""
        try:
            return await self.backend.read(function, letter_id)
        except DeadLetterNotFoundError as exc:
            raise await self.not_found(letter_id) from exc

    async def not_found(self, letter_id: str) -> "LetterNotThere":
        """Return the answer for a letter that is not there, with what became of it."""
        return LetterNotThere(letter_id, await self.backend.read(Whereabouts.of, self.backend.letters, letter_id))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tell also what became of a letter."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if not isinstance(error, LetterNotThere):
            super().write_error(status_code, **kwargs)
            return
        found = error.whereabouts
        self.set_status(status_code)
        self.finish(
            {
                "error": error.get_message(),
                "later": found.later,
                "discard": None if found.discard is None else found.discard.operation.id,
            }
        )

    async def opened(self, letter_id: str) -> OpenedLetter:
        """Return a letter; 404 when it is not there."""
        return await self.of_letter(self.backend.letters.get, letter_id)

    async def body(self) -> dict[str, Any]:
        """Return the JSON object that was sent."""
        return await self.backend.read(json_object, self.request.body)


class LetterList(LetterHandler):
    """GET: one page of letters, the newest first."""

    @web.authenticated
    async def get(self) -> None:
        wanted = self.wanted("limit", "after")
        limit = whole_number("limit", self.get_argument("limit", escape=False), default=50, most=_MOST_LISTED)
        after = self.get_argument("after", escape=False)
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
                "unknown": None if page.letters or after else await self.backend.read(self._unknown, wanted),
            }
        )

    def _unknown(self, wanted: LetterFilter) -> dict[str, Any] | None:
        router = self.backend.router
        names = {"routes": [route.name for route in router.routes], "queues": router.queues}
        found = UnknownName.of(self.backend.letters, wanted, **names)
        return None if found is None else asdict(found)


class LetterOverview(LetterHandler):
    """GET: counts by route, reason and error; deaths over time; replays that were broken off."""

    @web.authenticated
    async def get(self) -> None:
        # Words, topics and queues have no index; the bars leave them out rather than read every letter each time.
        wanted = self.wanted("from", "bars")
        indexed = wanted.indexed_part
        wants_bars = one_of("bars", self.get_argument("bars", "all", escape=False), ("all", "none")) == "all"
        since = self.get_argument("from", escape=False)
        bars_from = None if since is None else letter_filter({"since": since}).since
        overview = await self.backend.read(self._overview, indexed, wanted == indexed)
        # Sixty questions for each route, of which nobody wants to know where the chart is folded.
        bars = await self.backend.read(self._bars, indexed, bars_from, wanted == indexed) if wants_bars else None
        await self.answer({**overview, "bars": bars})

    def _bars(self, wanted: LetterFilter, bars_from: float | None, is_exact: bool) -> dict[str, Any]:
        since = bars_from if wanted.since is None else None
        buckets = self.backend.letters.histogram(wanted, since=since, buckets=_BARS)
        return {
            "from": buckets[0].start_at,
            "until": buckets[-1].end_at,
            "counts": [bucket.count for bucket in buckets],
            "is_exact": is_exact,
        }

    def _overview(self, wanted: LetterFilter, is_exact: bool) -> dict[str, Any]:
        letters = self.backend.letters
        running = self.backend.operations.running()
        frozen_here = {progress.frozen_id for progress in running}
        now = letters.now()
        overdue = Overdue.of(self.backend.settings, letters)
        return {
            **letter_json.overview(letters.stats(wanted, most_errors=_ERRORS)),
            "now": now,
            "last_10_minutes": letters.count(replace(wanted, since=max(now - 600, wanted.since or 0.0))),
            "overdue": overdue and {"count": overdue.count, "days": overdue.days, "mend": overdue.mend},
            "matching": letters.count(wanted) if is_exact else None,
            "running": [progress.as_json() for progress in running],
            "unfinished": [
                {
                    "id": replay.id,
                    "actor": replay.operation.actor,
                    "detail": replay.operation.detail,
                    "started_at": replay.started_at,
                    "total": replay.total,
                    "remaining": replay.remaining,
                }
                for replay in letters.unfinished_replays()
                if replay.id not in frozen_here
            ],
        }


class LetterCount(LetterHandler):
    """GET: how many letters match, in parts where letters must be read, and the moment up to which that is counted."""

    @web.authenticated
    async def get(self) -> None:
        wanted = self.wanted("after")
        after = self.get_argument("after", escape=False)
        now = await self.backend.read(self.backend.letters.now)
        until = now if wanted.until is None else min(now, wanted.until)
        wanted = ending_at(wanted, until)
        run = self.backend.read if wanted.is_indexed else self.backend.search
        try:
            tally = await run(self.backend.letters.tally, wanted, after=after, scan_limit=_SCAN_LIMIT)
        except DeadLetterNotFoundError as exc:
            raise BadRequestError(name="after", value=after, allowed="the `next` of the part before") from exc
        of = await self.backend.read(self.backend.letters.count, wanted.indexed_part)
        await self.answer(
            {
                "count": tally.count,
                "scanned": tally.scanned,
                "of": of,
                "next": tally.next,
                "since": wanted.since,
                "until": until,
                "warning": await self.backend.read(self._warning, wanted),
            }
        )

    def _warning(self, wanted: LetterFilter) -> str | None:
        # Of others it is known when they were looked through.
        if not wanted.is_indexed:
            return None
        return self.backend.strange.warning(one_of_each_route(self.backend.letters, wanted))


class LetterDetails(LetterHandler):
    """GET: one letter with its payload, traceback and attempts."""

    @web.authenticated
    async def get(self, letter_id: str) -> None:
        found = await self.of_letter(self._details, letter_id)
        # Flower's own page of a task it has never heard of is an error.
        await self.answer({**found, "has_task": found["task_id"] in self.application.events.state.tasks})

    def _details(self, letter_id: str) -> dict[str, Any]:
        # Not on Flower's loop, which everyone waits for; and of what is large only the beginning.
        letters = self.backend.letters
        if letters.raw_bytes(letter_id) > _MOST_OPENED_BYTES:
            shown = letter_json.peeked(letters.peek(letter_id, most_bytes=_PEEKED_BYTES))
        else:
            opened = letters.get(letter_id)
            found = None if opened.task is None else decoded_payload(self.backend.router, opened.task)
            shown = letter_json.detailed(opened, found)
        route = self.backend.router.get(shown["route"])
        warning = self.backend.strange.warning(letters.some([letter_id]))
        return {**shown, "controller": None if route is None else route.controller, "warning": warning}


class LetterNeighbours(LetterHandler):
    """GET: the letters before and after one in the list that a filter makes, also when that one is gone."""

    @web.authenticated
    async def get(self, letter_id: str) -> None:
        wanted = self.wanted("at")
        at = self.get_argument("at", escape=False)
        if at is None:
            position = await self.of_letter(self.backend.letters.position_of, letter_id)
        else:
            position = Position(unix_seconds("at", at), letter_id.encode())
        run = self.backend.read if wanted.is_indexed else self.backend.search
        found = await run(Neighbours.of, self.backend.letters, wanted, position, scan_limit=_SCAN_LIMIT)
        sides = {"newer": found.newer, "older": found.older}
        letters = {
            side: letter and {"id": letter.id, "died_at": letter.died_at, "topic": letter_json.listed(letter)["topic"]}
            for side, letter in sides.items()
        }
        await self.answer({**letters, "is_complete": found.is_complete})


def ending_at(wanted: LetterFilter, until: float) -> LetterFilter:
    """Return the filter without what dies from then on."""
    return replace(wanted, until=until)


class LetterNotThere(web.HTTPError):
    """There is no such letter.

    Attributes:
        whereabouts: What became of it.
    """

    def __init__(self, letter_id: str, whereabouts: Whereabouts) -> None:
        super().__init__(404, "There is no dead letter %s: %s.", letter_id, whereabouts)
        self.whereabouts = whereabouts
