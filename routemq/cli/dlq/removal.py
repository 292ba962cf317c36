"""`dlq discard` and `dlq purge`."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import click

from routemq.cli.dlq.bin_commands import tell_of_bin
from routemq.cli.dlq.frame import INTERRUPTED, actor, nothing_matches, open_store, say
from routemq.cli.dlq.options import Duration, as_options, filter_options, wanted
from routemq.cli.dlq.replay import SHOWN, preview
from routemq.cli.dlq.searching import matching, readable, search
from routemq.cli.explain import explains_errors
from routemq.dead_letters import DeadLetter, DeadLetters, LetterFilter, Operation
from routemq.dead_letters.archive import ArchiveFile
from routemq.dead_letters.store import some
from routemq.errors import DeadLetterNotFoundError
from routemq.lifecycle.moves import BinRoom
from routemq.settings import load_settings
from routemq.text import plural

_BATCH = 500


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID…]")
@filter_options
@click.option("--all", "everything", is_flag=True, help="Every dead letter.")
@click.option("--yes", is_flag=True, help="Do it: without it a filter that matches several letters only shows them.")
@click.option("--for-good", is_flag=True, help="Not into the bin, which takes memory of Redis.")
@explains_errors
def discard(ids: Sequence[str], everything: bool, yes: bool, for_good: bool, **filters: Any) -> None:
    """Take dead letters away: by id, by filter, or all. For DLQ_BIN_HOURS `undo` brings them back.

    The bin holds 100,000 letters or 64 MiB; earlier discards make room for later ones. `export` or `purge` keep letters
    in a file.
    """
    store = open_store()
    now = store.now()
    chosen = wanted(filters, now=now)
    if sum([bool(ids), not chosen.is_empty, everything]) != 1:
        raise click.UsageError("Say which letters: ids, or filters, or --all; one of these.")
    if ids:
        operation = Operation(actor=actor(), detail=some(ids))
        done = store.discard(ids, actor=operation.actor, operation=operation, for_good=for_good)
        _tell(len(done), "Discarded")
        tell_of_bin(store, operation, len(done))
        missing = [letter_id for letter_id in dict.fromkeys(ids) if letter_id not in set(done)]
        damaged = {letter.id for letter in store.some(missing) if not readable([letter])}
        for letter_id in missing:
            if letter_id not in damaged:
                say(str(DeadLetterNotFoundError(letter_id=letter_id)))
        sys.exit(1 if missing else 0)
    if not yes:
        found = search(store, chosen, shown=SHOWN)
        if not found.count:
            nothing_matches(store, chosen)
        if found.count > 1:
            room = 0 if for_good or not load_settings().dlq_bin_hours else BinRoom(kept_s=0).letters
            preview(store, found, "discarded" if found.count <= room else "discarded for good")
            if 0 < room < found.count:
                say(f"The bin holds {room:,} letters: the others could not be brought back.")
            how = f"{as_options(chosen) or '--all'}{' --for-good' if for_good else ''}"
            say(f"Nothing was done. Do it: routemq dlq discard {how} --yes")
            return
    operation = Operation(actor=actor(), detail=str(chosen))
    removed, stay = _remove(store, chosen, operation, "discard", None, for_good=for_good)
    tell_of_bin(store, operation, removed)
    sys.exit(1 if stay else 0)


@click.command(short_help="Write old dead letters to a file and remove them.")
@click.option("--older-than", type=Duration(), required=True, help="Age of what goes: 14d, 12h.")
@filter_options
@click.option("--export", "export_path", type=click.Path(path_type=Path), metavar="FILE",
              help="Where they go first; by default a new file in DLQ_ARCHIVE_DIR or here.")  # fmt: skip
@click.option("--no-export", is_flag=True, help="Do not write them anywhere; needs --yes.")
@click.option("--yes", is_flag=True, help="Do it, with --no-export.")
@explains_errors
def purge(older_than: float, export_path: Path | None, no_export: bool, yes: bool, **filters: Any) -> None:
    """Take away what is older than an age, and write it to a file first.

    Each letter is on the disk before it goes, so a purge may be stopped at any moment and simply be run again.
    """
    store = open_store()
    now = store.now()
    chosen = wanted(filters, now=now)
    until = min(now - older_than, now if chosen.until is None else chosen.until)
    chosen = LetterFilter(**{**chosen.criteria(), "until": until})
    if no_export and export_path is not None:
        raise click.UsageError("--export and --no-export exclude each other.")
    if no_export and not yes:
        found = search(store, chosen, shown=SHOWN)
        if not found.count:
            nothing_matches(store, chosen)
        preview(store, found, "removed for good, written nowhere")
        say("Nothing was done. Do it with --yes, or without --no-export.")
        return
    operation = Operation(actor=actor(), detail=str(chosen))
    _, stay = _remove(store, chosen, operation, "purge", None if no_export else export_path or _new_path())
    sys.exit(1 if stay else 0)


def _new_path() -> Path:
    folder = load_settings().dlq_archive_dir or Path.cwd()
    return folder / time.strftime(f"dead-letters-%Y%m%dT%H%M%S-{os.getpid()}.jsonl", time.gmtime())


def _remove(
    store: DeadLetters, chosen: LetterFilter, operation: Operation, action: str, path: Path | None, *,
    for_good: bool = True,
) -> tuple[int, int]:  # fmt: skip
    """Take letters away, and return how many, and how many stay because they cannot be read."""
    # What dies from now on is not meant.
    ending = LetterFilter(**{"until": store.now(), **chosen.criteria()})
    removed = stay = 0
    try:
        batches = _batches(matching(store, ending))
        first = next(batches, None)
        # Before a file is made that would stay empty.
        if first is None:
            # Of a letter by a clock that was ahead, say until when was looked.
            nothing_matches(store, chosen if next(store.letters(chosen), None) is None else ending)
        with contextlib.nullcontext() if path is None else ArchiveFile(path) as file:
            if file is not None:
                say(f"Writing to {path} first.")
            for found in chain([first], batches):
                batch = readable(found)
                stay += len(found) - len(batch)
                ids = [letter.id for letter in batch] if file is None else file.write(store.archived(batch))
                removed += len(
                    store.discard(ids, actor=operation.actor, operation=operation, action=action, for_good=for_good)
                )
    except KeyboardInterrupt:
        say(f"Stopped: {plural(removed, 'letter')} removed, the others are as they were. Run it again to go on.")
        sys.exit(INTERRUPTED)
    _tell(removed, "Discarded" if path is None else f"Wrote to {path} and removed")
    return removed, stay


def _batches(letters: Iterator[DeadLetter]) -> Iterator[list[DeadLetter]]:
    while batch := list(islice(letters, _BATCH)):
        yield batch


def _tell(count: int, what: str) -> None:
    click.echo(f"{what} {plural(count, 'letter')}.")
