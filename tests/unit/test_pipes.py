"""What goes through the pipes between the prefork pool and its children."""

import gc
import os
import pickle
import select
import struct
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from celery.exceptions import Retry
from routemq_tasks.upstream.pipes import framed, read_messages, told


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


class Payload:
    """What a controller has in hand as it fails."""


@pytest.mark.parametrize("outcome", ["dead", "retried", "a stand-in"])
@pytest.mark.parametrize("returned", [True, False], ids=["told by Celery", "raised through Celery"])
def test_what_a_failed_run_had_in_hand_is_freed_when_its_end_is_told(outcome: str, returned: bool) -> None:
    def run(payload: Payload) -> None:
        try:
            raise ConnectionError("no answer")  # noqa: TRY301  with a traceback
        except ConnectionError as exc:
            error = exc
        if outcome == "retried":
            raise Retry(exc=error, when=1.0)
        if outcome == "a stand-in":
            raise RuntimeError("a stand-in") from error
        raise error

    def traced() -> tuple[ExceptionInfo, "weakref.ref[Payload]"]:
        # As Celery's tracer, whose frame keeps the exception.
        payload = Payload()
        try:
            run(payload)
        except Exception as exc:  # noqa: BLE001  as Celery's
            kept = exc
        return ExceptionInfo((type(kept), kept, kept.__traceback__)), weakref.ref(payload)

    gc.disable()
    try:
        info, payload = traced()
        assert payload() is not None
        answer = told(True, (1, info, 0.1)) if returned else told(False, info)
        del info
        assert payload() is None
    finally:
        gc.enable()
    _, heard = pickle.loads(pickle.dumps(answer))
    assert "no answer" in (heard[1] if returned else heard).traceback
