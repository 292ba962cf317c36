"""Letters in files: `routemq dlq export`, `import` and `purge --export`, also when killed or the disk is full."""

import contextlib
import fcntl
import hashlib
import json
import os
import resource
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from routemq.dead_letters import ArchivedLetter
from tests.desk import Desk
from tests.processes import clean_environment


def killed_in_the_middle(desk: Desk, *arguments: str, begun: str) -> None:
    """Run a command, freeze it as soon as it has begun, and kill it there."""
    argv = [sys.executable, "-c", _BREAK.format(begun=begun, arguments=list(arguments))]
    done = subprocess.run(argv, env=clean_environment(desk.env), cwd=desk.folder, capture_output=True,
                          check=False)  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


_BREAK = """
import os, signal
from routemq.dead_letters import archive, store
from routemq.cli.dlq import dlq
calls = 0
kind, _, name = "{begun}".partition(":")
place = store.DeadLetters if kind == "store" else archive.ArchivedLetter
whole = getattr(place, name)
def broken(*args, **options):
    global calls
    calls += 1
    if calls == 700 or (kind == "store" and calls == 3):
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args, **options)
setattr(place, name, broken)
dlq({arguments!r})
"""


def test_import_export_and_purge_survive_a_kill(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.fill(2000, age_s=86_400)
    before = desk.store.page(limit=2000).letters

    killed_in_the_middle(desk, "export", "out.jsonl", begun="archive:to_line")
    assert not (desk.folder / "out.jsonl").exists()
    assert desk.store.count() == 2000
    # What it left is no obstacle, unless somebody writes it.
    left_over = desk.folder / ".out.jsonl.part"
    with left_over.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another process writes out.jsonl" in desk.run("export", "out.jsonl", exit_code=1).stderr
    assert "Wrote 2,000 letters" in desk.run("export", "out.jsonl").stderr
    assert [path.name for path in desk.folder.glob("*.jsonl*")] == ["out.jsonl"]
    assert desk.run("export", "-").stdout == (desk.folder / "out.jsonl").read_text("utf-8")

    for begun in ("store:discard", "archive:to_line"):
        killed_in_the_middle(desk, "purge", "--older-than", "1h", "--export", f"{begun[-4:]}.jsonl", begun=begun)
    written = {
        json.loads(line)["id"]
        for path in (desk.folder / "card.jsonl", desk.folder / "line.jsonl")
        for line in path.read_bytes().splitlines()
        if line.endswith(b"}")
    }
    left = {letter.id for letter in desk.store.letters()}
    assert 0 < len(left) < 2000
    assert written | left == {letter.id for letter in before}
    # The same file again: what was killed within a line does not break it.
    desk.run("purge", "--older-than", "1h", "--export", "line.jsonl")
    assert desk.store.count() == 0

    killed_in_the_middle(desk, "import", "out.jsonl", begun="store:import_batch")
    assert desk.store.count() == 1000
    some = [letter.id for letter in desk.store.page(limit=10).letters]
    desk.run("replay", *some)
    again = desk.run("import", "out.jsonl")
    assert "Going on after 1,000 letters" in again.stderr
    assert "Imported 1,000 letters; 0 were there already" in again.stdout
    # What was replayed in between has not come back.
    assert desk.store.count() == 1990
    assert "Imported 10 letters; 1,990 were there already" in desk.run("import", "out.jsonl").stdout
    assert desk.store.page(limit=2000).letters == before
    # Killed when it had brought all, and not yet said so.
    digest = hashlib.sha256((desk.folder / "out.jsonl").read_bytes()).hexdigest()
    desk.client.set(desk.keys.dead_import(digest), 2000)
    desk.store.discard(some, actor="test")
    assert "Imported 10 letters; 1,990 were there already" in desk.run("import", "out.jsonl").stdout


def test_an_export_goes_where_a_name_leads(redis_desk: Desk) -> None:
    desk, folder = redis_desk, redis_desk.folder
    desk.fill(20)
    whole = desk.run("export", "-").stdout_bytes
    assert len(whole.splitlines()) == 20

    # A link stays one, also one that leads to nothing yet, and the file keeps its permissions.
    (folder / "elsewhere").mkdir()
    for name in ("there", "not-yet"):
        (folder / name).symlink_to(folder / "elsewhere" / name)
    (folder / "elsewhere" / "there").write_text("old", encoding="utf-8")
    (folder / "elsewhere" / "there").chmod(0o600)
    for name in ("there", "not-yet"):
        desk.run("export", name)
        assert (folder / name).is_symlink()
        assert (folder / "elsewhere" / name).read_bytes() == whole
    assert (folder / "elsewhere" / "there").stat().st_mode & 0o777 == 0o600
    # Two names of one file; a name as long as a name may be.
    (folder / "one").write_text("old", encoding="utf-8")
    os.link(folder / "one", folder / "two")
    for name in ("one", "x" * 255):
        desk.run("export", name)
    assert (folder / "two").read_bytes() == whole == (folder / ("x" * 255)).read_bytes()

    # Whoever reads a pipe gets it; what is before and behind it in the same file stays.
    os.mkfifo(folder / "fifo")
    reader = subprocess.Popen(["cat", "fifo"], cwd=folder, stdout=subprocess.PIPE)
    desk.run("export", "fifo")
    assert reader.communicate()[0] == whole
    assert stat.S_ISFIFO((folder / "fifo").stat().st_mode)
    command = shlex.join(desk.argv("export", "/dev/stdout"))
    for script, expected in (
        (f"(echo before; {command}; echo behind) >all", b"before\n" + whole + b"behind\n"),
        (f"{command} | cat >all", whole),
        (f"{shlex.join(desk.argv('export', '/dev/fd/3'))} 3>all", whole),
    ):
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=clean_environment(desk.env), capture_output=True,
            check=False,
        )  # fmt: skip
        assert (done.returncode, (folder / "all").read_bytes()) == (0, expected), done.stderr
    for name, problem in (("elsewhere", "Is a directory"), ("", "Is a directory"), ("loop", "symbolic links")):
        (folder / "loop").unlink(missing_ok=True)
        (folder / "loop").symlink_to("loop")
        assert problem in desk.run("export", name, exit_code=1).stderr
    assert not list(folder.glob(".*.part"))

    desk.run("discard", "--all", "--yes")
    script = f"{shlex.join(desk.argv('import', '/dev/stdin'))} < all && {shlex.join(desk.argv('import'))} <(cat all)"
    subprocess.run(["bash", "-c", script], cwd=folder, env=clean_environment(desk.env), check=True)
    assert desk.store.count() == 20


@contextlib.contextmanager
def no_longer_root() -> Iterator[None]:
    """Have permissions count, until the block ends."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_an_export_does_not_replace_what_this_user_may_not_write(redis_desk: Desk) -> None:
    redis_desk.fill(1)
    redis_desk.run("export", "-")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kept").write_text("kept", encoding="utf-8")
        (folder / "kept").chmod(0o444)
        folder.chmod(0o777)
        with no_longer_root():
            refused = replace(redis_desk, folder=folder).run("export", "kept", exit_code=1)
        assert "cannot write kept: Permission denied" in refused.stderr
        assert [(path.name, path.read_text("utf-8")) for path in folder.iterdir()] == [("kept", "kept")]


def test_broken_line_is_named_and_nothing_is_imported(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.fill(80)
    desk.run("export", "out.jsonl")
    desk.run("discard", "--all", "--yes")
    lines = (desk.folder / "out.jsonl").read_bytes().splitlines(keepends=True)
    lines[72] = b'{"v": 1, "id": "x"}\n'
    (desk.folder / "out.jsonl").write_bytes(b"".join(lines))
    refused = desk.run("import", "out.jsonl", exit_code=1)
    assert "out.jsonl, line 73: the field" in refused.stderr
    assert "nothing was imported" in refused.stderr
    assert desk.store.count() == 0
    desk.run("import", "out.jsonl", "--skip-broken", exit_code=1)
    assert desk.store.count() == 79
    assert "cannot read nope.jsonl" in desk.run("import", "nope.jsonl", exit_code=1).stderr
    assert "cannot write" in desk.run("export", "/nope/out.jsonl", exit_code=1).stderr


def test_letters_stay_when_the_disk_is_full(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.fill(1200, age_s=86_400)

    def full_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000))

    purge = desk.argv("purge", "--older-than", "1h", "--export", "f.jsonl")
    done = subprocess.run(
        purge, env=clean_environment(desk.env), cwd=desk.folder, preexec_fn=full_disk, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert b"cannot write f.jsonl: File too large" in done.stderr
    # What is written is whole, and only that is gone.
    lines = (desk.folder / "f.jsonl").read_bytes().splitlines(keepends=True)
    assert 0 < len(lines) == 1200 - desk.store.count()
    assert len({ArchivedLetter.from_line(line, source="f", number=1).letter.id for line in lines}) == len(lines)
    assert "removed" in desk.run("purge", "--older-than", "1h", "--export", "f.jsonl").stdout
    assert desk.store.count() == 0
    assert desk.run("import", "f.jsonl").stdout.startswith("Imported 1,200 letters; 0")
