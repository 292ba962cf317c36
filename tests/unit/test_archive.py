"""Letters leave Redis when they are on the disk, under a name by which they are found again."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routemq.dead_letters import ArchivedLetter, DeadLetter
from routemq.dead_letters.archive import ArchiveError, ArchiveFile
from routemq.dead_letters.retention import file_name

LETTERS = [
    ArchivedLetter(
        DeadLetter.bare(route="r", queue="q", message_id=f"m{number}", error=ValueError("x"), worker="w"), b"raw"
    )
    for number in range(3)
]


@given(st.lists(st.text() | st.sampled_from(["../..", "a/b", "A/B", "a_b", "é" * 300, "\0", "x" * 300, "x" * 301])))
def test_every_route_has_a_file_name_of_its_own_on_any_file_system(routes: list[str]) -> None:
    names = [f"dead-letters-20260930-{file_name(route)}.jsonl" for route in set(routes)]
    assert all(name.isascii() and len(name) < 150 and not set(name) & set('/\0\\:*?"<>|') for name in names)
    assert len({name.lower() for name in names}) == len(names)


def test_file_and_folder_are_on_the_disk_before_a_letter_may_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))

    monkeypatch.setattr(os, "fsync", noted)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "elsewhere" / "real.jsonl")
    with ArchiveFile(link) as file:
        assert file.write(LETTERS) == [archived.letter.id for archived in LETTERS]
        assert synced == [False, True]
    lines = (tmp_path / "elsewhere" / "real.jsonl").read_bytes().splitlines(keepends=True)
    assert [ArchivedLetter.from_line(line, source="f", number=1).letter.id for line in lines] == [
        archived.letter.id for archived in LETTERS
    ]


def test_a_file_that_loses_its_name_takes_no_letter(tmp_path: Path) -> None:
    path = tmp_path / "a" / "f.jsonl"
    path.parent.mkdir()
    with ArchiveFile(path) as file:
        file.write(LETTERS[:1])
        path.unlink()
        with pytest.raises(ArchiveError, match="No such file"):
            file.write(LETTERS)
        path.write_text("", encoding="utf-8")
        with pytest.raises(ArchiveError, match="another file"):
            file.write(LETTERS)
        path.unlink()
        path.parent.rmdir()
        with pytest.raises(ArchiveError, match="No such file"):
            file.write(LETTERS)


def test_only_one_writes_and_only_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    with ArchiveFile(path), pytest.raises(ArchiveError, match="another process"), ArchiveFile(path):
        pass
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", ".", "f.jsonl/x"):
        with pytest.raises(ArchiveError, match="cannot write"), ArchiveFile(tmp_path / name):
            pass


def test_a_line_that_a_killed_process_left_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"v": 1, "id')
    with ArchiveFile(path) as file:
        file.write(LETTERS[:1])
    broken, whole = path.read_bytes().splitlines()
    assert broken == b'{"v": 1, "id'
    assert ArchivedLetter.from_line(whole, source="f", number=2).letter == LETTERS[0].letter
