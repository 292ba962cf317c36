"""Edit a payload in $EDITOR, and check it before it is sent."""

import sys

import click

from routemq.cli.dlq.frame import say
from routemq.dead_letters import OpenedLetter
from routemq.dead_letters.decoded import decoded_payload
from routemq.dead_letters.desk import indented_json
from routemq.dead_letters.edits import check_edit
from routemq.discovery import load_router
from routemq.errors import BindingError, InvalidMessageError, NotReplayableError
from routemq.settings import Settings


def edited_payload(opened: OpenedLetter, settings: Settings) -> bytes | None:
    """Let the person edit a payload until its controller would take it; None when nothing was changed.

    Raises:
        NotReplayableError: It is no message, or its payload is no text.
        InvalidMessageError: Its controller would not take the payload, and the person gave up.
    """
    letter, task = opened.letter, opened.task
    if task is None:
        raise NotReplayableError(letter_id=letter.id, problem=f"its bytes are no message ({opened.problem})")
    router = load_router(settings.routers)
    found = decoded_payload(router, task)
    if found is not None and found.problem is not None:
        raise NotReplayableError(letter_id=letter.id, problem=found.problem)
    try:
        before = opened.payload.decode() if found is None else found.json
    except UnicodeDecodeError as exc:
        raise NotReplayableError(letter_id=letter.id, problem="its payload is binary, not text to edit") from exc
    document = indented_json(before)
    text = shown = before if document is None else document
    while True:
        edited = click.edit(text, extension=".txt" if document is None else ".json")
        if edited is None:
            return None
        # Editors end a file with a line break, which is none of the payload.
        text = edited if before.endswith("\n") else edited.rstrip("\n")
        if text == shown:
            return None
        try:
            payload = text.encode() if found is None else found.encode(text)
            check_edit(router, task, payload)
        except (InvalidMessageError, BindingError) as exc:
            if not sys.stdin.isatty():
                raise
            say(f"The controller would not take it: {exc}")
            if not click.confirm("Edit again?", default=True, err=True):
                return None
        else:
            return payload
