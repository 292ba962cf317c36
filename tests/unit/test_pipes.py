"""What goes through the pipes between the prefork pool and its children."""

import os
import pickle
import select
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from routemq_tasks.upstream.pipes import framed, read_messages


@dataclass(frozen=True, slots=True)
class Ends:
    """A pipe, as the pool has one from each child."""

    reader: int
    writer: int

    def write(self, data: bytes) -> None:
        assert os.write(self.writer, data) == len(data)


@pytest.fixture
def ends() -> Iterator[Ends]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield Ends(reader, writer)
    os.close(reader)
    os.close(writer)


def message(value: object) -> bytes:
    body = pickle.dumps(value)
    return struct.pack("!i", len(body)) + body


def test_a_job_that_a_pipe_takes_at_once_is_one_part() -> None:
    first, second, left = framed(("task", b"x" * (select.PIPE_BUF - 100)))
    assert (bytes(second), left) == (b"", 0)
    assert len(first) <= select.PIPE_BUF
    assert pickle.loads(first[4:]) == ("task", b"x" * (select.PIPE_BUF - 100))
    assert struct.unpack("!i", first[:4]) == (len(first) - 4,)


def test_a_job_that_a_pipe_may_take_in_parts_can_be_continued() -> None:
    job = ("task", b"x" * select.PIPE_BUF)
    first, second, left = framed(job)
    assert len(first) == 4
    assert left == len(second)
    assert pickle.loads(second) == job


def test_all_messages_that_are_there_are_read_at_once(ends: Ends) -> None:
    ends.write(message("started") + message("done"))
    heard: list[Any] = []
    assert list(read_messages(ends.reader, heard.append)) == []
    assert heard == ["started", "done"]


@pytest.mark.parametrize("cut", [1, 4, 6])
def test_half_a_message_waits_for_its_rest(ends: Ends, cut: int) -> None:
    whole = message("done")
    ends.write(message("started") + whole[:cut])
    heard: list[Any] = []
    reading = read_messages(ends.reader, heard.append)
    next(reading)
    assert heard == ["started"]
    next(reading)
    ends.write(whole[cut:] + message("another"))
    assert list(reading) == []
    assert heard == ["started", "done", "another"]


def test_a_message_that_fails_does_not_take_its_neighbours_along(ends: Ends) -> None:
    ends.write(message("bad") + message("good"))
    heard: list[Any] = []

    def dispatch(value: Any) -> None:
        heard.append(value)
        if value == "bad":
            raise ConnectionError("Redis is away")

    with pytest.raises(ConnectionError):
        list(read_messages(ends.reader, dispatch))
    assert heard == ["bad", "good"]


def test_the_end_of_a_pipe_is_told() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    with pytest.raises(EOFError):
        list(read_messages(reader, print))
    os.close(reader)
