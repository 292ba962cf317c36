"""The made-up devices of the sample application."""

import json

from routemq_dev.sample_fleet import BROKEN_PAYLOADS, SampleFleet


def test_every_topic_of_the_sample_application_gets_its_messages() -> None:
    fleet = SampleFleet(devices=3, broken_share=0, seed=1)
    messages = [fleet.message() for _ in range(500)]
    assert {topic.split("/")[0] for topic, _ in messages} == {"sensors", "telemetry", "plants", "flaky", "alerts"}
    assert all(json.loads(payload) for _, payload in messages)
    assert len({topic for topic, _ in messages if topic.startswith("sensors/")}) == 3


def test_share_of_broken_payloads_is_what_was_asked_for() -> None:
    fleet = SampleFleet(broken_share=0.5, seed=1)
    broken = [payload for _, payload in (fleet.message() for _ in range(1000)) if payload in BROKEN_PAYLOADS]
    assert 400 < len(broken) < 600


def test_same_seed_gives_the_same_messages() -> None:
    first, second = SampleFleet(seed=7), SampleFleet(seed=7)
    assert [first.message() for _ in range(50)] == [second.message() for _ in range(50)]
