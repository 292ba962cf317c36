"""When a worker fetches and how much, and when it waits for a message that has to run alone."""

from types import SimpleNamespace
from typing import Any

import pytest
from routemq_transport.fetching.fetcher import MOST_BYTES, MOST_PER_FETCH, Fetched, Room
from routemq_transport.fetching.intake import Intake
from routemq_transport.fetching.pace import CADENCE_S, IDLE_S, IDLE_UNTOLD_S, Pace
from routemq_transport.fetching.room import Appetite, Solitude, window_of
from routemq_transport.items import Item

from routemq.queues import Keys


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def brought(*items: Item, **more: Any) -> Fetched:
    usual = {"complete": True, "next_due_s": None, "alone": None, "too_large": False, "marked": 0, "armed": False}
    return Fetched(items=list(items), **usual | more)


ITEM = Item("tag", "queue", b"{}")


def test_while_messages_come_the_next_fetch_is_due_at_once() -> None:
    clock = Clock()
    pace = Pace(clock)
    for _ in range(3):
        assert pace.due_in_s == 0
        pace.sent()
        pace.found(brought(ITEM), is_told=True)
    # What does not fit is asked for as soon as there is room.
    pace.found(brought(too_large=True, complete=False), is_told=True)
    assert pace.due_in_s == 0


@pytest.mark.parametrize("count", [1, 3])
def test_who_took_all_there_was_and_will_be_told_of_more_looks_no_more(count: int) -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.sent()
    pace.found(brought(*[ITEM] * count, armed=True), is_told=True)
    assert pace.due_in_s == IDLE_S
    pace.woken()
    assert pace.due_in_s == 0
    pace.sent()
    # What came while the reply was on its way is not told again.
    pace.woken()
    pace.found(brought(ITEM, armed=True), is_told=True)
    assert pace.due_in_s == 0


def test_empty_queues_are_looked_at_once_more_before_redis_is_trusted_to_tell() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.found(brought(ITEM, complete=False), is_told=True)
    assert not pace.may_sleep
    pace.sent()
    pace.found(brought(), is_told=True)
    assert pace.may_sleep
    assert pace.due_in_s == 0
    pace.sent()
    pace.found(brought(), is_told=True)
    assert pace.due_in_s == IDLE_S
    clock.now += IDLE_S
    assert pace.due_in_s == 0


def test_whom_redis_does_not_tell_looks_often_and_a_retry_is_not_overslept() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.found(brought(), is_told=False)
    assert 0 < pace.due_in_s <= IDLE_UNTOLD_S
    clock.now += IDLE_UNTOLD_S
    pace.found(brought(next_due_s=0.25), is_told=True)
    assert 0 < pace.due_in_s < 0.26


def test_a_change_between_a_look_and_its_reply_is_looked_for_at_once() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.found(brought(), is_told=True)
    assert pace.due_in_s > 0
    pace.woken()
    assert pace.due_in_s == 0
    pace.found(brought(), is_told=True)
    assert pace.due_in_s == 0
    pace.sent()
    pace.found(brought(), is_told=True)
    assert pace.due_in_s > 0


def test_a_redis_that_refuses_is_asked_later_each_time_and_spoken_of_once() -> None:
    clock = Clock()
    pace = Pace(clock)
    waits_s = []
    for number in range(10):
        assert pace.refused("no permission") == (number == 0)
        waits_s.append(pace.due_in_s)
        clock.now += waits_s[-1]
        assert pace.due_in_s == 0
    assert waits_s == sorted(waits_s)
    assert waits_s[0] < 1 < waits_s[-1] < 60
    assert pace.refused("another reason")
    clock.now += pace.due_in_s
    pace.found(brought(ITEM), is_told=True)
    pace.refused("no permission")
    assert pace.due_in_s == waits_s[0]


def test_a_window_that_was_filled_is_filled_again_when_half_of_it_is_free_or_a_moment_later() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.has_room(0, 10_000)
    assert pace.has_room(64, 63)
    pace.found(brought(ITEM, complete=False), is_told=True)
    assert not pace.has_room(64, 63)
    assert pace.has_room(64, 32)
    clock.now += 2 * CADENCE_S
    assert pace.has_room(64, 63)
    assert not pace.has_room(64, 64)


def test_a_window_has_room_for_what_is_run_in_a_moment_unless_somebody_wants_a_small_one() -> None:
    assert [window_of(32, soon) for soon in (0, 32, 50, 1000)] == [32, 32, 50, MOST_PER_FETCH]
    assert [window_of(asked, 1000) for asked in (0, 1, 31, 64, 128)] == [0, 1, 31, MOST_PER_FETCH, 128]


def test_a_fetch_takes_what_the_window_and_the_bytes_leave() -> None:
    appetite = Appetite(Clock())
    room = appetite.room(in_hand=0, held_bytes=0, window=None, all_run=lambda: True)
    assert room == Room(messages=MOST_PER_FETCH, bytes=MOST_BYTES, waits=False, alone="first")
    room = appetite.room(in_hand=3, held_bytes=1000, window=7, all_run=lambda: True)
    assert room == Room(messages=7, bytes=MOST_BYTES - 1000, waits=True, alone="left")


def test_nothing_is_fetched_for_no_room_which_a_slower_pace_may_have_left() -> None:
    hands = SimpleNamespace(
        can_consume=lambda: True, can_consume_max_estimate=lambda: 0, in_hand=60, prefetch_count=32, all_run=False
    )
    # It has nothing to fetch with.
    channel: Any = SimpleNamespace(
        qos=hands, active_queues=("q",), has_lease=False, lease=SimpleNamespace(held_bytes=0)
    )
    Intake(channel, Keys("k:")).turn()


def test_hands_that_are_full_of_bytes_take_more_only_for_a_slot_that_is_free() -> None:
    appetite = Appetite(Clock())
    assert appetite.room(in_hand=2, held_bytes=MOST_BYTES, window=9, all_run=lambda: False) is None
    room = appetite.room(in_hand=2, held_bytes=MOST_BYTES, window=9, all_run=lambda: True)
    assert room is not None
    assert not room.waits
    # Less is too much when the next message is known not to fit beside it, until it is gone.
    appetite.note(brought(too_large=True, complete=False), held_bytes=500)
    assert appetite.room(in_hand=1, held_bytes=500, window=9, all_run=lambda: False) is None
    assert appetite.room(in_hand=1, held_bytes=499, window=9, all_run=lambda: False) is not None
    appetite.note(brought(ITEM), held_bytes=0)
    assert appetite.room(in_hand=1, held_bytes=500, window=9, all_run=lambda: False) is not None


def test_a_message_that_runs_alone_is_waited_for_after_it_was_left_for_a_moment() -> None:
    clock = Clock()
    appetite = Appetite(clock)

    def wanted() -> str:
        room = appetite.room(in_hand=1, held_bytes=0, window=9, all_run=lambda: True)
        assert room is not None
        return room.alone

    appetite.note(brought(alone="left", complete=False), held_bytes=0)
    assert wanted() == "left"
    clock.now += 1
    assert wanted() == "last"
    appetite.note(brought(), held_bytes=0)
    assert wanted() == "left"


def busy_worker(solitude: Solitude, clock: Clock, *, for_s: float) -> float:
    """Let a worker with one long task and free slots meet such a message all the time; return how long they waited."""
    waited_s, holds = 0.0, False
    until = clock.now + for_s
    while clock.now < until:
        if not holds:
            holds = solitude.may_wait
            if holds:
                solitude.taken()
            else:
                solitude.left()
        elif solitude.is_in_vain(slots_wait=True):
            holds = False
            solitude.given_back()
        waited_s += 0.01 * holds
        clock.now += 0.01
    return waited_s


def test_others_with_empty_hands_come_first() -> None:
    clock = Clock()
    solitude = Solitude(clock)
    assert not solitude.may_wait
    solitude.left()
    assert not solitude.may_wait
    clock.now += 1
    assert solitude.may_wait
    solitude.none_left()
    assert not solitude.may_wait
    solitude.left()
    assert not solitude.may_wait


def test_beside_a_long_task_slots_wait_a_tenth_of_the_time() -> None:
    clock = Clock()
    waited_s = busy_worker(Solitude(clock), clock, for_s=3600)
    assert 0 < waited_s < 3600 * 0.2
    clock = Clock()
    assert busy_worker(Solitude(clock), clock, for_s=10) < 2


def test_what_is_waited_for_grows_until_the_message_is_run() -> None:
    clock = Clock()
    solitude = Solitude(clock)
    longest_s, began = 0.0, clock.now
    for _ in range(8):
        solitude.left()
        while not solitude.may_wait:
            clock.now += 0.1
        solitude.taken()
        started = clock.now
        while not solitude.is_in_vain(slots_wait=True):
            clock.now += 0.1
        longest_s = clock.now - started
        solitude.given_back()
    assert longest_s > 100
    assert clock.now - began < 15 * longest_s
    solitude.ran()
    solitude.taken()
    assert not solitude.is_in_vain(slots_wait=True)
    clock.now += 1.1
    assert solitude.is_in_vain(slots_wait=True)


def test_while_messages_in_hand_wait_themselves_nothing_is_in_vain() -> None:
    clock = Clock()
    solitude = Solitude(clock)
    solitude.taken()
    for _ in range(100):
        clock.now += 1
        assert not solitude.is_in_vain(slots_wait=False)
    assert not solitude.is_in_vain(slots_wait=True)
