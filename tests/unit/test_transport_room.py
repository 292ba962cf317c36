"""When a busy worker waits for a message that has to run alone."""

from routemq_transport.room import Solitude


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


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
