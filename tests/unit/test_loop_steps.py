"""Steps of any thread are taken in the loop's, all of them, whatever one of them raises or a loop forgets."""

import threading
from collections import deque
from collections.abc import Callable

import pytest
from routemq_tasks.loop_steps import LoopSteps

from tests.processes import wait_until


def in_other_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_many_steps_of_other_threads_are_taken_in_one_turn() -> None:
    due: list[Callable[[], None]] = []
    taken: list[tuple[int, int]] = []
    steps = LoopSteps(due.append)

    def take(number: int) -> None:
        taken.append((number, threading.get_ident()))

    steps.take(take, 0)
    in_other_thread(lambda: [steps.take(take, number) for number in (1, 2, 3)])
    assert [number for number, _ in taken] == [0]
    assert len(due) == 1
    due.pop()()
    assert taken == [(number, threading.get_ident()) for number in range(4)]
    in_other_thread(lambda: steps.take(take, 4))
    assert len(due) == 1


def test_a_step_that_fails_keeps_none_from_being_taken(caplog: pytest.LogCaptureFixture) -> None:
    due: list[Callable[[], None]] = []
    taken: list[str] = []
    steps = LoopSteps(due.append)

    def fail() -> None:
        raise RuntimeError("why")

    steps.take(fail)
    in_other_thread(lambda: (steps.take(fail), steps.take(taken.append, "next")))
    due.pop()()
    assert taken == ["next"]
    assert [record.getMessage() for record in caplog.records] == ["a message is not acknowledged"] * 2


def test_what_a_loop_forgets_is_taken_with_the_next_connection() -> None:
    taken: list[str] = []
    steps = LoopSteps(lambda _step: None)
    in_other_thread(lambda: steps.take(taken.append, "one"))
    in_other_thread(lambda: steps.take(taken.append, "two"))
    steps.take_waiting()
    assert taken == ["one", "two"]


def test_no_step_of_many_threads_is_left_behind() -> None:
    due: deque[Callable[[], None]] = deque()
    taken: list[int] = []
    steps = LoopSteps(due.append)
    threads = [
        threading.Thread(target=lambda: [steps.take(taken.append, number) for number in range(5000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()

    def turn() -> bool:
        while due:
            due.popleft()()
        return len(taken) == 20_000

    wait_until(turn, message="all are taken")
    for thread in threads:
        thread.join()
