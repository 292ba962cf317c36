"""A short fault run: what `benchmarks/faults.py` does for minutes."""

from pathlib import Path

from tests.fault_redis import KINDS
from tests.faults import FaultRun


def test_nothing_acknowledged_is_lost_whatever_strikes(tmp_path: Path) -> None:
    run = FaultRun(tmp_path, seed=7, rate=60, every_s=(0.5, 1.5), say=print)
    account = run.run(10, until=lambda account: account.faults.total() >= 5)
    print(account)
    assert account.acknowledged == account.published > 400
    assert account.lost == []
    assert account.wrongly_dead == {}
    assert account.done > account.published * 0.8
    assert set(account.dead) >= {"failed", "rejected"}
    assert not account.left


def test_nothing_acknowledged_is_lost_whatever_redis_refuses(tmp_path: Path) -> None:
    run = FaultRun(tmp_path, seed=5, rate=60, every_s=(0.5, 1.0), only_troubles=True, say=print)
    account = run.run(13, until=lambda account: set(account.faults) >= set(KINDS))
    print(account)
    # Those that are restarted while the memory is full.
    assert account.deaths.total() <= account.faults["redis' memory full"]
    assert account.acknowledged == account.published > 500
    assert account.lost == []
    assert account.wrongly_dead == {}
    assert not account.left
