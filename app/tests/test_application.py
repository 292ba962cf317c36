"""All of it together: MQTT broker, Redis, ingest and a worker, in the process of the test."""

import pytest

from app.controllers import flaky_controller
from routemq.testing import TestApp


def test_what_keeps_failing_is_a_dead_letter_and_the_rest_is_answered(
    routemq_app: TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flaky_controller, "FAILURE_RATE", 1.0)
    routemq_app.publish("flaky/j1", {"amount": 3})
    for device in ("d1", "d2"):
        routemq_app.publish(f"alerts/{device}", {"code": "E7"})
    routemq_app.wait_idle()
    assert sorted(each.topic for each in routemq_app.published) == ["replies/d1", "replies/d2"]
    assert [(letter.topic, letter.reason, letter.attempts) for letter in routemq_app.dead_letters] == [
        ("flaky/j1", "failed", 3)
    ]
