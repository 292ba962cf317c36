"""What a signal handler may call takes no lock: it may interrupt itself, at any line."""

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from routemq_ingest.exchange import Bell

from routemq.supervision.stop import STOP_SIGNALS, Stop, take_stop_signals
from tests.processes import PATIENCE_S


def interrupted_at_every_line(call: Callable[[], object]) -> None:
    """Call it, and call it again from within each of its lines, as a handler would."""
    busy = False

    def trace(_frame: FrameType, _event: str, _arg: object) -> Any:
        nonlocal busy
        if not busy:
            busy = True
            call()
            busy = False
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)


def ends(call: Callable[[], object], patience_s: float = PATIENCE_S) -> bool:
    """Whether the call ends; one that stands still is left behind."""
    thread = threading.Thread(target=interrupted_at_every_line, args=(call,), daemon=True)
    thread.start()
    thread.join(patience_s)
    return not thread.is_alive()


def test_a_lock_is_found_by_this_test() -> None:
    assert not ends(threading.Event().set, 2)


def test_a_stop_may_be_interrupted_by_itself() -> None:
    stop = Stop()
    assert not stop.is_set()
    assert not stop.wait(0.01)
    assert ends(stop.set)
    assert stop.is_set()
    assert stop.wait(PATIENCE_S)
    assert stop.wait()


def test_a_thousand_signals_are_one() -> None:
    stop, wakeup = Stop(), Bell()
    for _ in range(100_000):
        stop.set()
        wakeup.wake()
    assert stop.wait(PATIENCE_S)
    wakeup.close()
    wakeup.wake()


def test_a_wakeup_may_be_interrupted_by_itself() -> None:
    wakeup = Bell()
    assert ends(wakeup.wake)
    wakeup.close()


def test_waiting_ends_with_the_call_of_another_thread() -> None:
    stop = Stop()
    threading.Timer(0.05, stop.set).start()
    assert stop.wait(PATIENCE_S)


@pytest.mark.parametrize("timeout_s", [0, 0.01])
def test_waiting_ends_in_time(timeout_s: float) -> None:
    assert Stop().wait(timeout_s) is False


@pytest.mark.parametrize("under_nohup", [False, True])
def test_the_end_of_the_terminal_is_the_end_unless_nohup_says_otherwise(under_nohup: bool) -> None:
    before = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGHUP)}
    taken: list[int] = []
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if under_nohup else signal.SIG_DFL)
        take_stop_signals(lambda number, _: taken.append(number))
        for number in before:
            signal.raise_signal(number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert taken == [*STOP_SIGNALS, *([] if under_nohup else [signal.SIGHUP])]
