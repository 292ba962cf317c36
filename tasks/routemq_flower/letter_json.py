"""Dead letters as the JSON API gives them."""

from dataclasses import asdict
from typing import Any

from routemq.dead_letters import DeadLetter
from routemq.dead_letters.census import LetterStats
from routemq.dead_letters.decoded import DecodedPayload
from routemq.dead_letters.desk import PayloadView, attempt_object, group_object, letter_object, replay_object
from routemq.dead_letters.frames import raised_by
from routemq.dead_letters.opened import OpenedLetter
from routemq.dead_letters.peeked import PeekedLetter
from routemq.dead_letters.replaying import MOST_GENERATIONS
from routemq.envelope import FailedAttempt, TaskMessage
from routemq.text import plural

_MOST_LISTED_CHARACTERS = 300


def listed(letter: DeadLetter) -> dict[str, Any]:
    """Return a letter as a row of the table."""
    return {**letter_object(letter), "topic": _cut(letter.topic), "message": _cut(letter.message)}


def detailed(opened: OpenedLetter, decoded: DecodedPayload | None = None) -> dict[str, Any]:
    """Return all there is to say of a letter, with what can be shown of its payload."""
    generation = None if opened.task is None else opened.task.generation
    payload = PayloadView.of(opened.payload).as_object()
    if decoded is not None:
        # What cannot be edited as JSON can be looked at.
        payload |= {"codec": decoded.codec, "decoded": decoded.json, "not_editable": decoded.problem}
    return {
        **_described(opened.letter),
        "history": [attempt_object(attempt) for attempt in opened.attempts],
        "replays": [] if opened.task is None else [replay_object(replay) for replay in opened.task.replays],
        "problem": opened.problem,
        "needs_force": _needs_force(opened.letter, generation),
        "payload": payload,
        "mqtt": None if opened.task is None else _mqtt(opened.task),
    }


def peeked(found: PeekedLetter) -> dict[str, Any]:
    """Return the same of a letter whose message is too large to be read as a whole: without its MQTT properties."""
    letter = found.letter
    last = FailedAttempt(at=letter.died_at, error=letter.error, worker=letter.worker)
    return {
        **_described(letter),
        "history": [attempt_object(last)],
        "replays": [],
        "problem": found.problem,
        "needs_force": _needs_force(letter, letter.generation),
        "payload": PayloadView.of(found.payload, size_bytes=found.bytes).as_object(),
        "mqtt": None,
    }


def _described(letter: DeadLetter) -> dict[str, Any]:
    raised = [asdict(found) for found in raised_by(letter.traceback)]
    return {**letter_object(letter), "task_id": letter.task_id, "traceback": letter.traceback, "raised_by": raised}


def overview(stats: LetterStats) -> dict[str, Any]:
    """Return the numbers at the top of the page."""
    return {
        "total": stats.total,
        "routes": [group_object(group) for group in stats.routes],
        "reasons": [group_object(group) for group in stats.reasons],
        "errors": _errors(stats),
        "error_count": stats.error_count,
        "full_routes": stats.full_routes,
        "archive_problem": stats.archive_problem,
    }


def _errors(stats: LetterStats) -> list[dict[str, Any]]:
    return [
        group_object(error)
        | {"routes": list(error.routes), "is_rest": error.is_rest, "exception": error.example.exception}
        | {"message": _cut(error.example.message), "reason": error.example.reason}
        | {"first_release": error.first_release}
        for error in stats.errors
    ]


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= _MOST_LISTED_CHARACTERS:
        return text
    return f"{text[:_MOST_LISTED_CHARACTERS]}…"


def _needs_force(letter: DeadLetter, generation: int | None) -> str | None:
    """Return why this letter is replayed only by someone who insists."""
    if generation is not None and generation >= MOST_GENERATIONS:
        return f"It died again after {plural(generation, 'replay')}."
    if letter.redacted:
        names = ", ".join(letter.redacted)
        return f"The values of {names} were not kept: edit the payload before you replay it."
    return None


def _mqtt(task: TaskMessage) -> dict[str, Any]:
    envelope = task.envelope
    return {
        "qos": envelope.qos,
        "retain": envelope.retain,
        "received_at": envelope.received_at,
        "content_type": envelope.content_type,
        "response_topic": envelope.response_topic,
        "user_properties": [list(pair) for pair in envelope.user_properties],
    }
