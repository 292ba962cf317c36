"""`dlq list` and `dlq show`."""

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click
import orjson

from routemq.cli.dlq.frame import open_store, say, say_none
from routemq.cli.dlq.options import as_options, filter_options, wanted
from routemq.cli.dlq.searching import newest
from routemq.cli.explain import explains_errors
from routemq.dead_letters import OpenedLetter
from routemq.dead_letters.desk import attempt_object, letter_object, replay_object
from routemq.dead_letters.whereabouts import Whereabouts
from routemq.envelope import text_of
from routemq.errors import DeadLetterNotFoundError, RouteMQError
from routemq.settings import load_settings
from routemq.text import printable

if TYPE_CHECKING:
    from routemq.dead_letters.decoded import DecodedPayload


@click.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Letters on a page.")
@click.option("--after", help="Where the page begins: what the page before says, or a letter's id.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@explains_errors
def list_letters(limit: int, after: str | None, as_json: bool, **filters: Any) -> None:
    """Show dead letters, the newest first.

    Route, reason, fingerprint and times are indexed: such a page is quick whatever there is. For the other filters
    letters are read one by one until the page is full.
    """
    store = open_store()
    now = store.now()
    chosen = wanted(filters, now=now)
    page = newest(store, chosen, limit=limit, after=after)
    if as_json:
        for letter in page.letters:
            click.echo(orjson.dumps(letter_object(letter)))
        if page.next is not None:
            say(f"next page: --after {shlex.quote(str(page.next))}")
        return
    if not page.letters:
        say_none(store, chosen)
        return
    # Here, and below: nothing to show takes no time to start.
    from routemq.cli.dlq.letter_tables import print_page

    print_page(page, now)
    if page.next is not None:
        options = " ".join(part for part in (as_options(chosen), f"--limit {limit}" if limit != 20 else "") if part)
        total = f" of {store.count(chosen):,}" if chosen.is_indexed else ""
        say(f"{len(page.letters)}{total}, newest first. Next page:")
        say(f"  routemq dlq list {options}{' ' if options else ''}--after {shlex.quote(str(page.next))}")


@click.command()
@click.argument("name", metavar="ID")
@click.option("--payload", "payload_only", is_flag=True, help="Write the payload alone, byte for byte.")
@click.option("--raw", "raw_only", is_flag=True, help="Write the whole message alone, as it lay on its queue.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@explains_errors
def show(name: str, payload_only: bool, raw_only: bool, as_json: bool) -> None:
    """Show one dead letter: what it says, what failed, and when. A Celery task id names its last dead letter."""
    store = open_store()
    try:
        opened = store.get(name if ":" in name else store.find(name) or name)
    except DeadLetterNotFoundError as exc:
        found = Whereabouts.of(store, name)
        how = "" if found.discard is None else f"; bring it back: routemq dlq undo {found.discard.operation.id}"
        raise DeadLetterNotFoundError(letter_id=name, became=printable(f"{found}{how}")) from exc
    if payload_only or raw_only:
        sys.stdout.buffer.write(opened.payload if payload_only else opened.raw)
    elif as_json:
        decoded = _decoded(opened)
        said = {} if decoded is None else {"codec": decoded.codec, "payload_decoded": orjson.Fragment(decoded.json)}
        click.echo(orjson.dumps(opened_as_object(opened) | said))
    else:
        from routemq.cli.dlq.letter_tables import print_letter

        print_letter(opened, store.now(), decoded=_decoded(opened))


def _decoded(opened: OpenedLetter) -> "DecodedPayload | None":
    """Return what a payload says that is no text, as the application decodes it."""
    task = opened.task
    if task is None or text_of(opened.payload) is not None:
        return None
    from routemq.dead_letters.decoded import decoded_payload
    from routemq.discovery import load_router

    try:
        return decoded_payload(load_router(load_settings().routers), task)
    except RouteMQError:
        # It is shown without the application, too.
        return None


def opened_as_object(opened: OpenedLetter) -> dict[str, Any]:
    """Return a letter with all that is kept of it for `--json`."""
    found = letter_object(opened.letter) | {
        "traceback": opened.letter.traceback,
        "runs": [attempt_object(attempt) for attempt in opened.attempts],
        "replays": [replay_object(replay) for replay in (opened.task.replays if opened.task else ())],
        "problem": opened.problem,
    }  # fmt: skip
    try:
        return found | {"payload": opened.payload.decode()}
    except UnicodeDecodeError:
        return found | {"payload_hex": opened.payload.hex()}
