"""Each controller alone: one message through its route, without any server."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.controllers import flaky_controller
from app.controllers.sensor_controller import SensorReading
from routemq.testing import Dead, Done, Later, Published, Result

Deliver = Callable[..., Result]


@pytest.fixture(scope="module", autouse=True)
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("sample") / "sample.sqlite3"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APP_DATABASE", str(path))
        yield path


def test_a_critical_alert_shuts_the_device_down(routemq_deliver: Deliver) -> None:
    result = routemq_deliver("alerts/d1", {"code": "E7", "severity": "critical"}).check()
    assert result.published == (Published(topic="replies/d1", payload=b'{"code":"E7","action":"shut down"}', qos=1),)


def test_an_alert_that_does_not_fit_is_dead_at_once(routemq_deliver: Deliver) -> None:
    result = routemq_deliver("alerts/d1", {"code": "E7", "severity": "bad"})
    assert result.outcome == Dead("invalid")
    assert "severity" in str(result.error)


def test_a_reading_is_kept_once_however_often_its_message_is_run(routemq_deliver: Deliver, database: Path) -> None:
    for attempt in (1, 2):
        routemq_deliver("sensors/d1/data", SensorReading(temperature=21.5), message_id="m1", attempt=attempt).check()
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT device_id, temperature FROM readings").fetchall() == [("d1", 21.5)]


def test_a_job_is_tried_again_and_at_last_given_up(routemq_deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flaky_controller, "FAILURE_RATE", 1.0)
    first, last = (routemq_deliver("flaky/j1", {"amount": 3}, attempt=attempt) for attempt in (1, 3))
    assert isinstance(first.outcome, Later)
    assert first.outcome.delay_s == pytest.approx(1.0, rel=0.1)
    assert last.outcome == Dead("failed")
    assert isinstance(last.error, ConnectionError)


def test_the_state_of_a_line_goes_through_its_groups_middleware(routemq_deliver: Deliver) -> None:
    assert routemq_deliver("plants/p1/lines/7/state", {"state": "running"}).outcome == Done()
    assert routemq_deliver("plants/p1/lines/x/state", {"state": "running"}).outcome == Dead("invalid")
