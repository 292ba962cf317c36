"""What a child of the prefork pool has in hand: whoever hears of a run, in whatever way, each job has its end."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from billiard import get_context
from billiard.pool import ApplyResult
from routemq_tasks.bundle_page import BundlePage
from routemq_tasks.upstream import bundle as module
from routemq_tasks.upstream.bundle import Bundle, is_revoked, say_start
from routemq_tasks.upstream.job import Job
from routemq_tasks.upstream.public_names import OpenRequest

CHILD = 4711


class Owner:
    """A request, as far as a bundle asks it."""

    name = "a/{b}"

    def __init__(self, pool: "Pool", number: int, on_start: Callable[[int], object]) -> None:
        self.id, self.number, self.pool, self.on_start = str(number), number, pool, on_start
        self.acknowledged = False

    def on_accepted(self, pid: int, _at: float) -> None:
        assert pid == CHILD
        self.pool.started.append(self.number)
        self.on_start(self.number)

    say_accepted = on_accepted

    def on_success(self, _report: object) -> None:
        self.pool.ended.append(self.number)

    def leave_pool(self) -> None:
        assert self.number in self.pool.started

    def acknowledge_with_others(self) -> None:
        if self.number in self.pool.unheard:
            raise OSError("there is nobody to be told")
        self.pool.ended.append(self.number)
        self.acknowledged = True

    def reject(self, *, requeue: bool) -> None:
        assert requeue
        self.pool.given_back.append(self.number)

    def send_event(self, *_: object, **__: object) -> None:
        """Nobody listens."""


class Pool:
    """Jobs with a child that does as it is told here.

    Args:
        make: Makes a job, in the one way or the other.
        on_start: Called with the number of a job as its request hears that it has begun.
    """

    def __init__(self, make: Callable[..., Any], count: int, on_start: Callable[[int], object]) -> None:
        self.page = BundlePage(get_context("fork").Lock())
        self.cache: dict[int, Any] = {}
        self.started: list[int] = []
        self.ended: list[int] = []
        self.put_back: list[Any] = []
        self.given_back: list[int] = []
        self.unheard: set[int] = set()
        self.jobs = [make(self.cache, Owner(self, number, on_start)) for number in range(count)]
        child = SimpleNamespace(page=self.page, pid=CHILD)
        self.bundle = Bundle(child, self.jobs, put_back=self.put_back.append, on_end=lambda *_: None)
        self.number = self.page.offer(count)


def billiards(cache: dict[int, Any], owner: Any) -> Any:
    return ApplyResult(cache, owner.on_success, owner.on_accepted)


def ours(cache: dict[int, Any], owner: Any) -> Any:
    return Job(cache, owner, lost_worker_timeout_s=10.0)


@pytest.mark.parametrize("make", [billiards, ours])
@pytest.mark.parametrize("is_done", [False, True])
def test_a_command_that_ends_a_run_as_it_begins_is_heeded_while_it_runs(make: Any, is_done: bool) -> None:
    found: list[bool] = []
    pool = Pool(make, 3, lambda number: found.append(pool.bundle.runs()) if number == 1 else None)
    for slot in (0, 1):
        assert pool.page.begin(pool.number, slot)
        if slot == 0 or is_done:
            pool.page.done(slot)
    # A job tells of its start and of its end under one lock, which it cannot take twice.
    pool.bundle.look()
    assert found == [not is_done]
    assert pool.put_back == [pool.jobs[2]]
    pool.page.done(1)
    pool.bundle.look()
    assert (pool.started, pool.ended, pool.bundle.left) == ([0, 1], [0, 1], [])


@pytest.mark.parametrize("make", [billiards, ours])
def test_who_cannot_hear_of_a_start_keeps_no_run_from_its_end(make: Any) -> None:
    def fail(_number: int) -> None:
        raise OSError(22, "no such signal")

    pool = Pool(make, 2, fail)
    for slot in (0, 1):
        assert pool.page.begin(pool.number, slot)
        pool.page.done(slot)
    pool.bundle.look()
    assert (pool.started, pool.ended, pool.cache) == ([0, 1], [0, 1], {})


def test_of_runs_that_end_together_those_come_back_whose_end_cannot_be_told() -> None:
    pool = Pool(ours, 4, lambda _number: None)
    pool.unheard.add(2)
    for slot in range(4):
        assert pool.page.begin(pool.number, slot)
        pool.page.done(slot)
    pool.bundle.look()
    assert (pool.ended, pool.given_back, pool.cache, pool.bundle.left) == ([0, 1], [2, 3], {}, [])


def test_what_a_request_fails_of_while_it_is_handed_out_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Strange(OpenRequest):
        def __init__(self) -> None:
            """Of what Celery would read, nothing is there."""

        expires = True
        message = None

        def revoked(self) -> bool:
            raise AttributeError("'str' object has no attribute 'get'")

    def fail(_messages: object) -> None:
        raise ValueError("no such lease")

    job = ApplyResult({}, None, Strange().on_accepted)
    monkeypatch.setattr(module, "say_starts", fail)
    assert not is_revoked(job)
    say_start([job])


def test_a_limit_counts_from_when_a_run_began_and_no_timer_is_set_for_one_that_is_over_when_it_is_seen() -> None:
    pool = Pool(ours, 3, print)
    started: list[tuple[Any, float, float]] = []
    stopped: list[Any] = []
    limiting = SimpleNamespace(
        soft_timeout=None,
        timeout=60.0,
        on_timeout_set=lambda *timer: started.append(timer),
        on_timeout_cancel=stopped.append,
    )
    for job in pool.jobs:
        job.request.limits_s = (30.0, None)
        job.limit(limiting)
    over, running, _ = pool.jobs
    pool.page.begin(pool.number, 0)
    pool.page.done(0)
    pool.page.begin(pool.number, 1)
    began_at = pool.page.began_at(1)
    pool.bundle.look()
    ((job, soft_s, hard_s),) = started
    assert job is running
    assert 30.0 - (time.monotonic() - began_at) <= soft_s <= 30.0
    assert hard_s - soft_s == pytest.approx(30.0)
    assert not stopped
    pool.page.done(1)
    pool.bundle.look()
    assert (stopped, over.ready(), running.ready()) == ([running], True, True)
