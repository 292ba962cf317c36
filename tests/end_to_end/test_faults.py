"""A short fault run: what `benchmarks/faults.py` does for minutes."""

from pathlib import Path

import pytest

from tests.faults import FaultRun


@pytest.mark.timeout(110)
def test_nothing_acknowledged_is_lost_whatever_strikes(tmp_path: Path) -> None:
    run = FaultRun(tmp_path, seed=7, rate=60, every_s=(0.5, 1.5), say=print)
    account = run.run(10, settle_s=60)
    print(account)
    assert sum(account.faults.values()) >= 5
    assert account.acknowledged == account.published > 400
    assert account.lost == []
    assert account.wrongly_dead == {}
    assert account.done > account.published * 0.8
    assert set(account.dead) >= {"failed", "rejected"}
    assert not account.left
