"""The page that a pool and its child share, in every order of their steps, and with a child that dies at any."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from greenlet import greenlet
from routemq_tasks.bundle_page import BEGUN, DONE, OFFERED, SLOTS, TAKEN, TOLD, BundlePage
from routemq_tasks.run_times import BUNDLE_S, RunTimes


class Scheduler:
    """Runs a child and its pool step by step, each step one look at or one change of what they share.

    Args:
        order: Whose turn it is, step by step, as far as it is decided; the child's after that.
    """

    def __init__(self, order: list[int]) -> None:
        self.order, self.taken = order, 0
        self.waiting: dict[greenlet, SteppedLock] = {}

    def step(self) -> None:
        """Let the other side come in between."""
        greenlet.getcurrent().parent.switch()

    def run(self, *sides: Callable[[], None]) -> list[int]:
        """Run both to their ends, or as long as one can go on; returns who could have gone at each undecided turn."""
        threads, open_turns = [greenlet(side) for side in sides], []
        while ready := [number for number, thread in enumerate(threads) if self.can_go(thread)]:
            wanted = self.order[self.taken] if self.taken < len(self.order) else ready[0]
            if self.taken >= len(self.order):
                open_turns.append(len(ready))
            self.taken += 1
            threads[wanted if wanted in ready else ready[0]].switch()
        assert all(thread.dead for thread in threads)
        return open_turns

    def can_go(self, thread: greenlet) -> bool:
        """Tell whether a side has something to do."""
        return not thread.dead and (thread not in self.waiting or not self.waiting[thread].is_held)


class SteppedLock:
    """A lock whose waiting is a turn of the others'."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler, self.is_held = scheduler, False

    def acquire(self, block: bool, timeout: float | None = None) -> bool:
        self.scheduler.step()
        if self.is_held and (not block or timeout is not None):
            return False
        while self.is_held:
            self.scheduler.waiting[greenlet.getcurrent()] = self
            self.scheduler.step()
            self.scheduler.waiting.pop(greenlet.getcurrent())
        self.is_held = True
        return True

    def release(self) -> None:
        self.scheduler.step()
        self.is_held = False

    def __enter__(self) -> None:
        self.acquire(True)

    def __exit__(self, *error: object) -> None:
        if error[0] is not greenlet.GreenletExit:
            self.release()


class SteppedStates:
    """The bytes of a page."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler, self.bytes = scheduler, bytearray(SLOTS)

    def __getitem__(self, slot: int) -> int:
        self.scheduler.step()
        return self.bytes[slot]

    def __setitem__(self, slot: int, state: int) -> None:
        self.scheduler.step()
        self.bytes[slot] = state


class Run:
    """A bundle in one order of steps: the child runs it, the pool takes back what it can, perhaps the child dies."""

    COUNT = 3

    def __init__(self, order: list[int], *, dies_after: int | None) -> None:
        self.scheduler = scheduler = Scheduler(order)
        self.lock = SteppedLock(scheduler)
        self.page = BundlePage(self.lock)
        self.number = self.page.offer(self.COUNT)
        states = SteppedStates(scheduler)
        states.bytes[:] = bytes(self.page.state(slot) for slot in range(SLOTS))
        self.page._states = self.states = states
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.taken: list[int] = []
        self.steps_left = dies_after
        self.is_dead = False
        self.open_turns = scheduler.run(self.child, self.pool)

    def child(self) -> None:
        step, me = self.scheduler.step, greenlet.getcurrent()

        def mortal_step() -> None:
            if greenlet.getcurrent() is me and self.steps_left is not None:
                if not self.steps_left:
                    self.is_dead = True
                    raise greenlet.GreenletExit
                self.steps_left -= 1
            step()

        self.scheduler.step = mortal_step
        for slot in range(self.COUNT):
            if self.page.begin(self.number, slot):
                self.begun.append(slot)
                self.page.done(slot)
                self.ended.append(slot)

    def pool(self) -> None:
        self.taken += self.page.take_back()

    def check(self) -> None:
        states = list(self.states.bytes[: self.COUNT])
        blamed = [slot for slot, state in enumerate(states) if state == BEGUN]
        untouched = [slot for slot, state in enumerate(states) if state == OFFERED]
        done = [slot for slot, state in enumerate(states) if state == DONE]
        assert not set(self.begun) & set(self.taken)
        assert sorted([*self.taken, *blamed, *untouched, *done]) == list(range(self.COUNT))
        assert set(self.ended) <= set(done) <= set(self.begun)
        assert len(blamed) <= self.is_dead
        if not self.is_dead:
            assert sorted([*self.begun, *self.taken]) == list(range(self.COUNT))
            assert not self.lock.is_held


def every_order(dies_after: int | None) -> Iterator[Run]:
    """Give a run for each order in which two sides can take their steps."""
    undecided: list[list[int]] = [[]]
    while undecided:
        order = undecided.pop()
        run = Run(order, dies_after=dies_after)
        yield run
        for turn, choices in enumerate(run.open_turns):
            if choices > 1:
                undecided.append([*order, *([0] * turn), 1])


@pytest.mark.parametrize("dies_after", [None, *range(15)])
def test_a_message_is_the_childs_or_is_taken_back_in_every_order_of_steps(dies_after: int | None) -> None:
    runs = 0
    for run in every_order(dies_after):
        run.check()
        runs += 1
    assert runs > 5


def page() -> BundlePage:
    return BundlePage(SteppedLock(_Alone()))


class _Alone(Scheduler):
    def __init__(self) -> None:
        super().__init__([])

    def step(self) -> None:
        """Nobody else is there."""


def test_a_slot_is_begun_once_and_only_in_its_own_bundle() -> None:
    shared = page()
    number = shared.offer(2)
    assert not shared.begin(number - 1, 0)
    assert shared.begin(number, 0)
    assert not shared.begin(number, 0)
    assert not shared.begin(number, 2)
    assert shared.take_back() == [1]
    assert not shared.begin(number, 1)
    assert [shared.state(slot) for slot in range(2)] == [BEGUN, TAKEN]


def test_a_page_tells_when_a_run_began_how_long_it_took_and_what_was_told_elsewhere() -> None:
    shared = page()
    number = shared.offer(SLOTS)
    for slot in range(SLOTS):
        assert shared.begin(number, slot)
        (shared.done if slot % 2 else shared.told)(slot)
    assert [shared.state(slot) for slot in range(SLOTS)] == [TOLD, DONE] * (SLOTS // 2)
    assert 0 <= shared.took_s(1) < 60
    assert shared.began_at(1) <= shared.began_at(3)
    assert shared.offer(1) == number + 1
    assert shared.state(1) not in (DONE, TOLD, OFFERED)


def test_a_child_with_the_lock_in_its_hand_keeps_the_pool_waiting_for_no_longer_than_it_has_patience() -> None:
    lock: Any = SteppedLock(_Alone())
    shared = BundlePage(lock)
    shared.offer(2)
    lock.is_held = True
    assert shared.take_back() == []
    assert shared.take_back(patience_s=0.01) == []
    lock.is_held = False
    assert shared.take_back() == [0, 1]


def test_a_route_is_expected_to_be_as_slow_as_it_was_of_late() -> None:
    times = RunTimes()
    assert times.expected_s("new") == BUNDLE_S
    for _ in range(50):
        times.add("quick", 0.0001)
    assert times.expected_s("quick") < BUNDLE_S / 16
    times.add("quick", 3600.0)
    assert times.expected_s("quick") < BUNDLE_S
    for _ in range(5):
        times.add("quick", 3600.0)
    assert times.expected_s("quick") > BUNDLE_S
    for _ in range(50):
        times.add("quick", 0.0001)
    assert times.expected_s("quick") < BUNDLE_S / 16
