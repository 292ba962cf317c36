"""Errands are done in order, elsewhere; what comes of them is heard here, or not at all."""

import threading
from concurrent.futures import Future

import pytest
from routemq_ingest.errands import Errands

from tests.processes import PATIENCE_S, no_more_threads


def test_results_and_exceptions_come_back_in_order_to_the_thread_that_asked() -> None:
    heard: list[object] = []
    woken = threading.Event()
    errands = Errands("test", wake=woken.set)

    def then(answer: "Future[int]") -> None:
        heard.append((answer.exception() or answer.result(), threading.current_thread().name))

    failure = SystemExit(3)

    def fail() -> int:
        raise failure

    for call in (lambda: 1, fail, lambda: 3):
        errands.ask(call, then=then)
    assert heard == []
    assert woken.wait(PATIENCE_S)
    errands.finish(timeout_s=PATIENCE_S)
    here = threading.current_thread().name
    assert heard == [(1, here), (failure, here), (3, here)]
    errands.close()


def test_what_hangs_is_not_waited_for() -> None:
    errands, go_on = Errands("test", wake=lambda: None), threading.Event()
    errands.ask(go_on.wait, then=lambda _: pytest.fail("nobody heard it"))
    errands.finish(timeout_s=0.05)
    errands.tend()
    errands.close()
    go_on.set()


def test_what_there_is_no_thread_for_yet_waits() -> None:
    errands, heard = Errands("test", wake=lambda: None), list[int]()
    with no_more_threads():
        errands.ask(lambda: 1, then=lambda answer: heard.append(answer.result()))
        errands.tend()
    errands.tend()
    errands.finish(timeout_s=PATIENCE_S)
    assert heard == [1]
    errands.close()
