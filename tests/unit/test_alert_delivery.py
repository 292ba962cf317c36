"""How somebody is told."""

import logging

import pytest

from routemq.alerts.delivery import Alert, Delivery
from routemq.settings import Settings


def test_a_hook_that_ends_what_calls_it_is_told_as_one_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    delivery = Delivery(Settings(_env_file=None, alert_hook="sys:exit"))  # type: ignore[call-arg]
    alert = Alert(event="began", key="ingest", text="no ingest", group="routemq", since=0.0, at=0.0)
    with caplog.at_level(logging.ERROR):
        assert delivery.deliver(alert)
    assert "ALERT_HOOK failed: SystemExit: Alert(" in caplog.text
