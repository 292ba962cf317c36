import click
import pytest
from celery.concurrency import get_implementation
from routemq_tasks.concurrency import Concurrency, choose_concurrency, within
from routemq_tasks.route_worker import check_pool

from routemq.settings import Settings, load_settings

QUEUES = {"sensors.data": 3, "sensors.raw": 2, "alerts": 1}
SCALE = {"WORKER_AUTO_SCALE": "true", "WORKER_MIN_COUNT": "2", "WORKER_MAX_COUNT": "6"}


def _settings(monkeypatch: pytest.MonkeyPatch, env: dict[str, str]) -> Settings:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.mark.parametrize(
    ("env", "can_scale", "chosen"),
    [
        ({}, True, Concurrency(count=5)),
        ({"WORKER_COUNT": "7"}, True, Concurrency(count=7)),
        (SCALE, True, Concurrency(count=2, autoscale=(6, 2))),
        (SCALE | {"WORKER_COUNT": "7"}, True, Concurrency(count=2, autoscale=(6, 2))),
        (SCALE, False, Concurrency(count=6)),
    ],
)
def test_concurrency(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], can_scale: bool, chosen: Concurrency
) -> None:
    settings = _settings(monkeypatch, env)
    assert choose_concurrency(settings, QUEUES, ["sensors.data", "sensors.raw"], can_scale=can_scale) == chosen


@pytest.mark.parametrize(
    ("most", "least", "can_scale", "chosen"),
    [
        (5, 2, True, Concurrency(count=2, autoscale=(5, 2))),
        (10, 0, True, Concurrency(count=1, autoscale=(10, 1))),
        (0, 0, True, Concurrency(count=1, autoscale=(1, 1))),
        (5, 1, False, Concurrency(count=5)),
        (0, 0, False, Concurrency(count=1)),
    ],
)
def test_a_range_by_hand_has_one_at_least_and_is_for_pools_that_scale(
    most: int, least: int, can_scale: bool, chosen: Concurrency
) -> None:
    assert within(most, least, can_scale=can_scale) == chosen


def test_a_pool_that_nobody_tries_here_is_refused_in_a_line() -> None:
    for pool in ("prefork", "threads", "solo"):
        check_pool(get_implementation(pool))
    with pytest.raises(click.ClickException, match=r"eventlet is not supported.*-P gevent"):
        check_pool(type("TaskPool", (), {"__module__": "celery.concurrency.eventlet"}))
