"""The JSON API of the dead letters, as far as it changes something; docs/flower.md describes it."""

import base64
from typing import Any, cast

from tornado import web

from routemq.dead_letters import FrozenReplayNotFoundError, LetterFilter, NotInBinError, Operation, ReplayOptions
from routemq.dead_letters.letter import DamagedLetterError
from routemq.dead_letters.opened import OpenedLetter
from routemq.dead_letters.replaying import ReplayPace
from routemq.errors import InvalidMessageError
from routemq_flower.change_progress import Action, ChangeProgress
from routemq_flower.editing import check_payload, encoded
from routemq_flower.letter_api import LetterHandler, ending_at
from routemq_flower.requests import BadRequestError, chosen_ids, letter_filter, only_text

_HOW = {"force", "canary", "rate", "to_queue"}
_MOST_CANARIES = 500
_SLOWEST, _FASTEST = 0.001, 1_000_000


class LetterCheck(LetterHandler):
    """POST: whether an edited payload fits the controller. Changes nothing."""

    @web.authenticated
    async def post(self, letter_id: str) -> None:
        payload = _edited(await self.body())
        if payload is None:
            raise BadRequestError(name="payload", value="", allowed="the text to check")
        opened = await self.opened(letter_id)
        if opened.task is None:
            raise web.HTTPError(409, "this is no message that could be replayed: %s", opened.problem)
        check = await self.backend.read(check_payload, self.backend.router, opened.task, payload)
        await self.answer({"problem": check.problem, "unchecked": check.unchecked})


class LetterChange(LetterHandler):
    """POST: replay, perhaps with another payload, or discard one letter."""

    @web.authenticated
    async def post(self, letter_id: str, action: str) -> None:
        self.require_change_allowed()
        body = await self.body()
        if action == "discard":
            operation, letters = Operation(actor=self.actor, detail=letter_id), self.backend.letters
            done = await self.backend.read(letters.discard, [letter_id], actor=self.actor, operation=operation)
            if not done:
                for problem in (await self.backend.read(letters.damaged, [letter_id])).values():
                    raise web.HTTPError(409, "%s", DamagedLetterError(letter_id=letter_id, problem=problem))
                raise await self.not_found(letter_id)
            binned = await self.backend.read(letters.bin.find, operation.id)
            await self.answer({"done": 1, "discard": None if binned is None else operation.id})
            return
        warning = await self.backend.read(lambda: self.backend.strange.warning(self.backend.letters.some([letter_id])))
        await self._replay(letter_id, _edited(body), force=_is_forced(body))
        await self.answer({"done": 1, "warning": warning})

    async def _encoded(self, opened: OpenedLetter, edited: bytes | str) -> bytes:
        if opened.task is None and isinstance(edited, str):
            raise web.HTTPError(409, "this is no message that could be decoded: %s", opened.problem)
        if opened.task is None or isinstance(edited, bytes):
            return cast("bytes", edited)
        try:
            return await self.backend.read(encoded, self.backend.router, opened.task, edited)
        except InvalidMessageError as exc:
            raise web.HTTPError(422, "%s", exc) from exc

    async def _replay(self, letter_id: str, edited: bytes | str | None, *, force: bool) -> None:
        letters, edits = self.backend.letters, None
        if edited is not None:
            opened = await self.opened(letter_id)
            if opened.task is not None and not force:
                check = await self.backend.read(check_payload, self.backend.router, opened.task, edited)
                if check.problem is not None:
                    raise web.HTTPError(422, "%s", check.problem)
            edits = {letter_id: await self._encoded(opened, edited)}
        result = await self.backend.read(letters.replay, [letter_id], actor=self.actor, edits=edits, force=force)
        if result.gone:
            raise await self.not_found(letter_id)
        for refusal in result.refused.values():
            insist = '; {"force": true} replays it all the same' if refusal.mend else ""
            raise web.HTTPError(409, "%s%s", refusal.problem, insist)


class BulkChange(LetterHandler):
    """POST: replay or discard all letters of a filter, or those that were chosen; answers at once with its progress."""

    @web.authenticated
    async def post(self, action: str) -> None:
        self.require_change_allowed()
        body = await self.body()
        options, pace = self._how(action, body)
        # One of the three and nothing else: a member that is misspelled, or empty, must not leave one that means more.
        if set(body) - _HOW == {"resume"}:
            progress = await self._resumed(str(body["resume"]))
        else:
            wanted = await self._wanted(body)
            progress = self.backend.operations.start(
                cast("Action", action), wanted, actor=self.actor, options=options, pace=pace
            )
        self.set_status(202)
        await self.answer(progress.as_json())

    def _how(self, action: str, body: dict[str, Any]) -> tuple[ReplayOptions, ReplayPace]:
        if action != "replay" and (beyond := sorted(set(body) & (_HOW - {"force"}))):
            raise BadRequestError(name="body", value=", ".join(beyond), allowed="that of a replay alone")
        force, to_queue = _is_forced(body), body.get("to_queue")
        queues = sorted(self.backend.router.queues)
        if to_queue is not None and (not isinstance(to_queue, str) or (to_queue not in queues and not force)):
            raise BadRequestError(name="to_queue", value=to_queue, allowed=f"one of {', '.join(queues)}")
        canary, rate = body.get("canary", 0), body.get("rate")
        if isinstance(canary, bool) or not isinstance(canary, int) or not 0 <= canary <= _MOST_CANARIES:
            raise BadRequestError(name="canary", value=canary, allowed=f"a whole number from 0 to {_MOST_CANARIES}")
        is_number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
        if rate is not None and not (is_number and _SLOWEST <= rate <= _FASTEST):
            allowed = f"letters a second, from {_SLOWEST} to {_FASTEST:,}"
            raise BadRequestError(name="rate", value=rate, allowed=allowed)
        trusts_absence = self.backend.settings.transport == "stock"
        pace = ReplayPace(canary=canary, rate=rate, trusts_absence=trusts_absence)
        return ReplayOptions(to_queue=to_queue, force=force), pace

    async def _wanted(self, body: dict[str, Any]) -> LetterFilter | list[str]:
        members = set(body) - _HOW
        if members == {"ids"}:
            return chosen_ids(body["ids"])
        if members == {"filter"} and isinstance(body["filter"], dict):
            wanted = letter_filter(body["filter"])
            now = await self.backend.read(self.backend.letters.now)
            return ending_at(wanted, now if wanted.until is None else min(now, wanted.until))
        raise BadRequestError(
            name="body",
            value=", ".join(sorted(body)),
            allowed='{"ids": […]} or {"filter": {…}}, {} for all letters; and "force"; "canary", "rate", "to_queue"',
        )

    async def _resumed(self, replay_id: str) -> ChangeProgress:
        try:
            replay = await self.backend.read(self.backend.letters.unfinished_replay, replay_id)
        except FrozenReplayNotFoundError as exc:
            raise web.HTTPError(404, "This replay is complete, or was begun more than a week ago.") from exc
        trusts_absence = self.backend.settings.transport == "stock"
        return self.backend.operations.resume(replay, trusts_absence=trusts_absence)


class DiscardUndo(LetterHandler):
    """POST: bring back what a discard has taken away; answers at once with its progress."""

    @web.authenticated
    async def post(self) -> None:
        self.require_change_allowed()
        body = await self.body()
        only_text(body, required="discard")
        try:
            found = await self.backend.read(self.backend.letters.bin.get, body["discard"])
        except NotInBinError as exc:
            raise web.HTTPError(
                404, "It is not in the bin any more: it was brought back, or its time is over."
            ) from exc
        self.set_status(202)
        await self.answer(self.backend.operations.undo(found, actor=self.actor).as_json())


class LettersGone(LetterHandler):
    """POST: which of some letters are not there any more. Changes nothing."""

    @web.authenticated
    async def post(self) -> None:
        ids = chosen_ids((await self.body()).get("ids"))
        await self.answer({"gone": await self.backend.read(self.backend.letters.gone, ids)})


class OperationHandler(LetterHandler):
    """What the handlers of bulk changes share."""

    def progress(self, operation_id: str) -> ChangeProgress:
        """Return the progress; 404 when there is no such change."""
        found = self.backend.operations.get(operation_id)
        if found is None:
            raise web.HTTPError(404, "This Flower has not begun such a change since it was started.")
        return found


class OperationProgress(OperationHandler):
    """GET: how far a bulk change is."""

    @web.authenticated
    async def get(self, operation_id: str) -> None:
        await self.answer(self.progress(operation_id).as_json())


class OperationStop(OperationHandler):
    """POST: have a bulk change end after the step it is at."""

    @web.authenticated
    async def post(self, operation_id: str) -> None:
        self.require_change_allowed()
        progress = self.progress(operation_id)
        progress.stop()
        await self.answer(progress.as_json())


def _edited(body: dict[str, Any]) -> bytes | str | None:
    """Return the payload that was sent: `payload` as text, or `payload_base64`; None when there is none.

    Text is what `payload_json` says: for the codec of the message's route.
    """
    members = sorted(set(body) - {"force"})
    if not members:
        return None
    if members == ["payload_base64"]:
        try:
            return base64.b64decode(str(body["payload_base64"]), validate=True)
        except ValueError as exc:
            raise BadRequestError(name="payload_base64", value="(hidden)", allowed="base64") from exc
    if members == ["payload_json"] and isinstance(body["payload_json"], str):
        return body["payload_json"]
    # An edit that is misspelled, or null, must not become a replay of what there was.
    if members != ["payload"]:
        allowed = '"payload", "payload_json" as text, or "payload_base64", and "force"'
        raise BadRequestError(name="body", value=", ".join(members), allowed=allowed)
    if not isinstance(body["payload"], str):
        raise BadRequestError(name="payload", value="(hidden)", allowed="text; put JSON into a string")
    return body["payload"].encode("utf-8", "surrogatepass")


def _is_forced(body: dict[str, Any]) -> bool:
    force = body.get("force", False)
    if not isinstance(force, bool):
        raise BadRequestError(name="force", value=force, allowed="true or false")
    return force
