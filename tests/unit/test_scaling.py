"""How many hands a pool gets, by loads as they were recorded."""

import pytest
from routemq_tasks.scaling import Cooldown, QueueLoad, wanted_hands

BURST = """
    10 52 0, 10 52 0, 10 52 0, 10 52 0, 10 52 0, 10 52 0, 47 52 141, 94 53 316, 142 56 447, 189 63 572, 199 71 666,
    200 69 650, 200 66 533, 200 62 360, 201 59 185, 200 58 16, 200 57 0, 200 57 0, 200 56 0, 197 57 8, 200 58 0,
    196 58 0, 200 58 0, 204 58 0, 200 58 4, 203 58 0, 151 57 0, 104 57 0, 56 57 0, 10 57 0, 10 57 0, 10 57 0,
    10 57 0, 10 57 0, 10 57 0, 10 57 0, 10 57 0, 10 57 0, 10 57 0, 10 57 0, 10 57 0, 10 57 0, 10 57 0, 10 57 0,
    10 57 0, 10 57 0, 10 57 0, 10 57 0, 10 57 0, 10 57 1, 10 57 0, 10 57 0, 10 57 0, 10 57 0, 10 57 0, 10 57 0,
    10 57 1, 10 57 0, 10 57 0, 10 57 0, 10 57 0
"""
"""Of each second: messages a second, milliseconds of a run, backlog. Recorded from a worker whose controller sleeps for
50 ms: 10 messages a second, 200 from the tick BEGINS on, 10 again from ENDS on."""
BEGINS, ENDS = 6, 25


def load(arrivals_per_s: float = 0.0, run_s: float = 0.02, backlog: int = 0, **others: float) -> QueueLoad:
    return QueueLoad(arrivals_per_s=arrivals_per_s, run_s=run_s, backlog=backlog, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rate", "per_worker", "least", "most", "workers"),
    [(500, 50, 1, 10, 10), (100, 50, 1, 10, 2), (50, 50, 1, 10, 1), (5000, 50, 1, 10, 10), (0, 50, 2, 10, 2)],
)
def test_without_a_backlog_it_is_the_sizing_rule(
    rate: float, per_worker: float, least: int, most: int, workers: int
) -> None:
    assert wanted_hands([load(rate, 1 / per_worker)], least=least, most=most) == workers
    assert workers == min(most, max(least, rate / per_worker))


@pytest.mark.parametrize(
    ("loads", "hands"),
    [
        ([], 1),
        ([load(1000, run_s=0.0, backlog=5000)], 1),  # nothing has run yet: nobody knows
        ([load(backlog=100, run_s=1.0)], 10),  # done within ten seconds
        ([load(10, run_s=0.5, backlog=100)], 10),  # five for what comes, five for what waits
        ([load(4, run_s=0.5), load(2, run_s=1.0)], 4),  # all of its queues
        ([load(2.1, run_s=1.0)], 3),
        ([load(20, run_s=1.0)], 12),
        ([load(8, run_s=1.0, fixed=5.0)], 3),  # others do the rest
        ([load(8, run_s=1.0, fixed=50.0)], 1),
        ([load(8, run_s=1.0, most_of_others=12)], 4),  # two such workers share it
        ([load(8, run_s=1.0, most_of_others=36)], 2),  # the others may grow to three times as many
    ],
)
def test_a_worker_has_its_share_of_what_its_queues_need(loads: list[QueueLoad], hands: int) -> None:
    assert wanted_hands(loads, least=1, most=12) == hands


def test_workers_that_share_a_queue_have_together_what_it_needs_and_no_more() -> None:
    for needed in range(1, 40):
        shares = [wanted_hands([load(needed, run_s=1.0, most_of_others=20)], least=0, most=10) for _ in range(3)]
        assert needed - 30 <= needed - sum(shares) <= max(0, needed - 30)
        assert sum(shares) - needed <= 2


def test_it_grows_at_once_and_shrinks_to_the_most_of_late() -> None:
    cooldown = Cooldown(30.0)
    recorded = [(0, 1), (1, 8), (2, 3), (3, 5), (20, 2), (31, 2), (32, 1), (33.5, 1), (50.5, 1), (62, 1), (62.5, 1)]
    assert [cooldown.settle(wanted, now=now) for now, wanted in recorded] == [1, 8, 8, 8, 8, 8, 5, 2, 2, 1, 1]


def test_a_load_that_swings_does_not_move_the_pool() -> None:
    cooldown = Cooldown(30.0)
    sizes = {cooldown.settle(10 if now % 20 < 5 else 1, now=now) for now in range(600)}
    assert sizes == {10}


def test_a_burst_of_twenty_times_the_load_is_met_within_ten_seconds_and_forgotten_after_it() -> None:
    cooldown = Cooldown(30.0)
    hands = []
    for now, row in enumerate(BURST.split(",")):
        arrivals_per_s, run_ms, backlog = map(int, row.split())
        wanted = wanted_hands([load(arrivals_per_s, run_ms / 1000, backlog)], least=1, most=20)
        hands.append(cooldown.settle(wanted, now=now))

    assert set(hands[:BEGINS]) == {1}
    # 200 messages a second of 50 ms take ten hands; what piled up meanwhile takes more.
    ticks_until_met = next(tick for tick, count in enumerate(hands[BEGINS:], 1) if count >= 10)
    assert ticks_until_met <= 5
    assert hands[BEGINS:ENDS] == sorted(hands[BEGINS:ENDS])
    assert 10 < max(hands) < 20
    ticks_until_forgotten = hands[ENDS:].index(1)
    assert 20 <= ticks_until_forgotten <= 40
    assert set(hands[ENDS + ticks_until_forgotten :]) == {1}
