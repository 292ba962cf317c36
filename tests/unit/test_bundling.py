"""Which jobs become a bundle, and what becomes of one that cannot be written."""

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from billiard import get_context
from routemq_tasks.bundle_page import SLOTS, BundlePage
from routemq_tasks.request import RouteRequest
from routemq_tasks.run_times import RunTimes
from routemq_tasks.upstream.bundling import next_bundle
from routemq_tasks.upstream.job import Job, framed_alone

NAME = "a/{b}"


class Request(RouteRequest):
    """One of a message with this in its header."""

    def __init__(self, number: int, header: object, size_bytes: int, strikes: int) -> None:
        self.id, self.name, self.number, self.failures = str(number), NAME, number, list[Any]()
        self._message = SimpleNamespace(body=b"x" * size_bytes)
        self._request_dict = {"id": self.id, "header": header, "routemq": {"strikes": strikes}}
        self._request_dict["text"] = "x" * size_bytes
        self._expires = None

    def on_failure(self, exc_info: Any, *_: Any, **__: Any) -> None:
        self.failures.append(exc_info.exception)


def job(number: int, header: object = None, *, size_bytes: int = 100, strikes: int = 0) -> Job:
    return Job({}, Request(number, header, size_bytes, strikes), lost_worker_timeout_s=10.0)


@pytest.fixture
def child() -> Any:
    context: Any = get_context("fork")
    queue = context.SimpleQueue()
    with queue._reader, queue._writer:
        yield SimpleNamespace(page=BundlePage(context.Lock()), inqW_fd=queue._writer.fileno())


def quick() -> RunTimes:
    times = RunTimes()
    for _ in range(100):
        times.add(NAME, 0.0001)
    return times


def numbers(jobs: Any) -> list[int]:
    return [each.request.number for each in jobs]


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def test_of_short_runs_each_idle_child_has_its_share(child: Any) -> None:
    waiting = deque(job(number) for number in range(SLOTS + 6))
    times = quick()
    jobs, data = next_bundle(waiting, child, times, idle=2)
    assert numbers(jobs) == list(range(SLOTS // 2 + 3))
    assert data
    waiting.extend(job(number) for number in range(SLOTS * 2))
    jobs, _ = next_bundle(waiting, child, times, idle=1)
    assert len(jobs) == SLOTS


def test_what_is_not_known_to_be_short_or_may_have_ended_a_child_is_alone(child: Any) -> None:
    assert len(next_bundle(deque(map(job, range(5))), child, RunTimes(), idle=1)[0]) == 1
    waiting = deque([job(0), job(1, strikes=1), job(2)])
    bundles = [numbers(next_bundle(waiting, child, quick(), idle=1)[0]) for _ in range(3)]
    assert bundles == [[0], [1], [2]]


@pytest.mark.parametrize("size_bytes", [3000, 40_000, 70_000])
def test_a_bundle_is_no_larger_than_its_pipe_takes(child: Any, size_bytes: int) -> None:
    waiting = deque(job(number, size_bytes=size_bytes) for number in range(40))
    jobs, data = next_bundle(waiting, child, quick(), idle=1)
    assert len(data) <= 65536
    assert len(jobs) == {3000: 21, 40_000: 1, 70_000: 0}[size_bytes]
    assert numbers(jobs) + numbers(waiting) == list(range(40))


def test_what_cannot_be_written_fails_alone(child: Any) -> None:
    waiting = deque(job(number, nested(100_000) if number == 5 else None) for number in range(8))
    handed: list[int] = []
    while waiting:
        jobs, _ = next_bundle(waiting, child, quick(), idle=1)
        handed += numbers(jobs)
        if not jobs:
            refused = waiting.popleft()
            assert not framed_alone(refused)
            assert [type(error.exc) for error in refused.request.failures] == [RecursionError]
            assert refused.ready()
            assert not refused._cache
    assert handed == [0, 1, 2, 3, 4, 6, 7]
