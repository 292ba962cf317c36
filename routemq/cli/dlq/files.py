"""`dlq export` and `dlq import`."""

import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import click

from routemq.cli.dlq.frame import INTERRUPTED, actor, nothing_matches, open_store, say
from routemq.cli.dlq.options import filter_options, wanted
from routemq.cli.dlq.part_file import PartFile
from routemq.cli.dlq.searching import matching, readable
from routemq.cli.explain import explains_errors
from routemq.dead_letters import ArchivedLetter, BrokenLineError, DeadLetters, LetterFilter, Operation
from routemq.text import plural

_BATCH = 500


@click.command("export", short_help="Write dead letters to a file.")
@click.argument("file", metavar="FILE.jsonl")
@filter_options
@explains_errors
def export(file: str, **filters: Any) -> None:
    """Write dead letters to a file, `-` for standard output; `import` brings them back.

    One JSON object a line, the oldest first, with everything there is. The file is there when it is complete. An export
    that was killed leaves a hidden `.FILE.jsonl.part`, which the next one to the same file begins anew and takes away.
    A link is followed; a pipe or a device is written as the letters are read. The letters stay in the store.
    """
    store = open_store()
    chosen = wanted(filters, now=store.now())
    try:
        lines = _lines(store, chosen)
        first = next(lines, None)
        if first is None:
            nothing_matches(store, chosen)
        count = _write(file, chain([first], lines))
    except KeyboardInterrupt:
        say("Stopped: the export is not complete.")
        sys.exit(INTERRUPTED)
    say(f"Wrote {plural(count, 'letter')} to {file}.")


@click.command("import", short_help="Bring exported dead letters back.")
@click.argument("file", metavar="FILE.jsonl")
@click.option("--skip-broken", is_flag=True, help="Leave out lines that cannot be read, and say which.")
@explains_errors
def import_(file: str, skip_broken: bool) -> None:
    """Bring dead letters back from a file that `export` or `purge` wrote; `-` for standard input.

    The whole file is read before anything is changed: a broken line is an error that names it. Letters that are in the
    store already stay as they are. An import that was killed goes on where it was when the same file is imported again.
    """
    store = open_store()
    with _opened(file) as source:
        digest, broken = _check(source, file)
        for problem in broken:
            say(str(problem))
        if broken and not skip_broken:
            raise click.ClickException(
                f"nothing was imported: {plural(len(broken), 'line')} cannot be read (--skip-broken leaves them out)"
            )
        added, already = _import(store, source, file, digest)
    click.echo(f"Imported {plural(added, 'letter')}; {already:,} {'was' if already == 1 else 'were'} there already.")
    sys.exit(1 if broken else 0)


def _lines(store: DeadLetters, chosen: LetterFilter) -> Iterator[bytes]:
    letters = matching(store, chosen)
    while batch := list(islice(letters, _BATCH)):
        for archived in store.archived(readable(batch)):
            yield archived.to_line()


def _write(file: str, lines: Iterator[bytes]) -> int:
    path = Path(file)
    if file == "-" or _is_standard_output(path):
        return _write_lines(sys.stdout.buffer, lines)
    try:
        if _is_written_in_place(path):
            with path.open("wb") as target:
                return _write_lines(target, lines)
        # In the same folder, so that the complete file takes its name in one step.
        with PartFile.of(path) as part:
            count = _write_lines(part.file, lines)
            part.complete()
    except OSError as exc:
        raise click.ClickException(f"cannot write {file}: {exc.strerror or exc}") from exc
    return count


def _is_standard_output(path: Path) -> bool:
    """Whether it is `/dev/stdout`, by whatever name, in front of or behind which others may write to the same file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):
        return False


def _is_written_in_place(path: Path) -> bool:
    """Whether it must not be replaced: a pipe, a device, an open file, a file that has another name too."""
    try:
        found = path.stat()
    except OSError:
        return False
    is_open = str(path).startswith(("/dev/std", "/dev/fd/", "/proc/"))
    return is_open or found.st_nlink > 1 or not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode))


def _write_lines(target: BinaryIO, lines: Iterator[bytes]) -> int:
    count = 0
    for line in lines:
        target.write(line)
        count += 1
    return count


def _opened(file: str) -> BinaryIO:
    if file != "-":
        try:
            opened = Path(file).open("rb")  # noqa: SIM115  the caller closes it
        except OSError as exc:
            raise click.ClickException(f"cannot read {file}: {exc.strerror}") from exc
        if opened.seekable():
            return opened
        with opened:
            return _spooled(opened)
    return _spooled(sys.stdin.buffer)


def _spooled(source: BinaryIO) -> BinaryIO:
    """Return what comes through a pipe as a file: it is read twice, checked first, imported then."""
    spooled = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
    shutil.copyfileobj(source, spooled)
    spooled.seek(0)
    return spooled


def _check(source: BinaryIO, file: str) -> tuple[str, list[BrokenLineError]]:
    """Return a digest of the file, and what of it cannot be read."""
    digest, broken = hashlib.sha256(), []
    for number, line in enumerate(source, 1):
        digest.update(line)
        try:
            if line.strip():
                ArchivedLetter.from_line(line, source=file, number=number)
        except BrokenLineError as exc:
            broken.append(exc)
    source.seek(0)
    return digest.hexdigest(), broken


def _good_letters(source: BinaryIO, file: str) -> Iterator[ArchivedLetter]:
    for number, line in enumerate(source, 1):
        try:
            if line.strip():
                yield ArchivedLetter.from_line(line, source=file, number=number)
        except BrokenLineError:
            # Told already, and left out on request.
            continue


def _brought(store: DeadLetters, source: BinaryIO, file: str, digest: str) -> int:
    """Return how many letters an import of this file has brought that was broken off before it had all."""
    done = store.imported_lines(digest)
    if done and next(islice(_good_letters(source, file), done, None), None) is None:
        # It was broken off after the last one. What has been discarded since then is wanted again.
        store.import_ended(digest)
        done = 0
    source.seek(0)
    return done


def _import(store: DeadLetters, source: BinaryIO, file: str, digest: str) -> tuple[int, int]:
    operation = Operation(actor=actor(), detail=Path(file).name)
    done = _brought(store, source, file, digest)
    if done:
        say(f"Going on after {plural(done, 'letter')} that an earlier import of this file brought.")
    letters = islice(_good_letters(source, file), done, None)
    added = already = 0
    try:
        while batch := list(islice(letters, _BATCH)):
            new = store.import_batch(batch, operation, file_digest=digest, lines_before=done)
            if new is None:
                raise click.ClickException("another process imports this very file right now; let it finish")
            done += len(batch)
            added += new
            already += len(batch) - new
    except KeyboardInterrupt:
        say(f"Stopped after {plural(done, 'letter')}. Import the same file again to go on.")
        sys.exit(INTERRUPTED)
    store.import_ended(digest)
    return added, already
