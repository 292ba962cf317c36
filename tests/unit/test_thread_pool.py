"""Threads that runs are handed to: each run once, in order, and none behind one that waits for something."""

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from routemq_tasks.thread_pool import RunThreads

from tests.processes import no_more_threads, wait_until


@pytest.fixture
def threads() -> Iterator[RunThreads]:
    made = RunThreads(4)
    yield made
    made.shutdown()


def test_runs_begin_in_their_order() -> None:
    one, ran = RunThreads(1), list[int]()
    for number in range(100):
        one.start(ran.append, number)
    wait_until(lambda: len(ran) == 100, message="all have run")
    one.shutdown()
    assert ran == list(range(100))


def test_nothing_waits_behind_a_run_that_takes_long(threads: RunThreads) -> None:
    goes_on, ran = threading.Event(), list[int]()
    # As often as the threads may meet in another order.
    for number in range(1, 11):
        for _ in range(3):
            threads.start(goes_on.wait, 30)
        threads.start(ran.append, number)
        try:
            wait_until(lambda number=number: len(ran) == number, message="it has run beside the long ones")
        finally:
            goes_on.set()
        idle = threading.Barrier(5)
        for _ in range(4):
            threads.start(idle.wait, 30)
        idle.wait(30)
        goes_on.clear()


def test_no_run_is_left_behind_or_run_twice(threads: RunThreads) -> None:
    ran: Counter[int] = Counter()
    lock = threading.Lock()

    def run(number: int) -> None:
        if number % 7 == 0:
            # Lets other threads have the interpreter.
            time.sleep(0)
        with lock:
            ran[number] += 1

    for number in range(3_000):
        threads.start(run, number)
        if number % 300 == 0:
            wait_until(lambda number=number: ran.total() == number + 1, message="all have run")
    wait_until(lambda: ran.total() == 3_000, message="all have run")
    assert set(ran.values()) == {1}


def test_a_thread_outlives_what_a_run_does(caplog: pytest.LogCaptureFixture) -> None:
    threads, ran = RunThreads(1), list[int]()

    def fail() -> None:
        raise SystemExit(3)

    threads.start(fail)
    threads.start(ran.append, 1)
    wait_until(lambda: ran, message="the next has run")
    threads.shutdown()
    assert [record.message for record in caplog.records] == ["a thread's run has not come to its end"]


def test_what_the_system_had_no_thread_for_runs_when_it_has_though_nothing_more_comes() -> None:
    threads, goes_on, ran = RunThreads(2), threading.Event(), list[int]()
    with no_more_threads():
        threads.start(goes_on.wait, 30)
        threads.add_thread_again()
    threads.add_thread_again()
    with no_more_threads():
        # Behind one that takes long.
        threads.start(ran.append, 1)
    threads.add_thread_again()
    wait_until(lambda: ran, message="it has run beside the long one")
    threads.add_thread_again()
    assert len([each for each in threading.enumerate() if each.name.startswith("routemq-run-")]) == 2
    goes_on.set()
    threads.shutdown()


def test_what_waits_is_not_run_once_the_threads_are_told_to_end() -> None:
    threads, goes_on, ran = RunThreads(1), threading.Event(), list[int]()
    threads.start(goes_on.wait, 30)
    threads.start(ran.append, 1)
    threads.shutdown(wait=False)
    threads.start(ran.append, 2)
    goes_on.set()
    threads.shutdown()
    assert not ran
    assert not [each for each in threading.enumerate() if each.name.startswith("routemq-run-")]
