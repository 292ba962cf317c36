"""Names of queues and keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routemq_ops.doctor.store_checks import expected_types

from routemq.errors import EmptyQueueNameError, UnknownQueueError
from routemq.queues import Keys, default_queue, expand_queues, queue_problem
from routemq.topics import TopicTemplate

QUEUES = ["alerts", "sensors.data", "sensors.raw.data", "sensors2", "telemetry.bulk"]


@pytest.mark.parametrize(
    ("topic", "queue"),
    [
        ("sensors/{device_id}/data", "sensors.data"),
        ("alerts/{device_id}", "alerts"),
        ("telemetry/bulk", "telemetry.bulk"),
        ("{device_id}", "routemq"),
        ("#", "routemq"),
        ("/a//b/", "a.b"),
        ("my sensors/a,b/*", "my_sensors.a_b._"),
        ("größe/🌡️/{x}", "größe.🌡️"),
    ],
)
def test_default_queue_is_made_of_the_literal_levels(topic: str, queue: str) -> None:
    assert default_queue(TopicTemplate(topic).literal_levels) == queue
    assert queue_problem(queue) is None


@given(st.lists(st.text(max_size=10), max_size=4))
def test_default_queue_passes_through_a_workers_command_line(levels: list[str]) -> None:
    queue = default_queue(levels)
    assert queue.split(",") == [queue]
    assert queue.split() == [queue]
    assert expand_queues([queue], {queue}) == [queue]


@pytest.mark.parametrize(
    "name", ["", "a b", "a,b", "a*", "a\x06\x163", "unacked", "unacked_index", "unacked_mutex", "routemq:dlq:audit",
             "_kombu.binding.celery"],
)  # fmt: skip
def test_queue_name_that_cannot_be_used_is_told(name: str) -> None:
    assert queue_problem(name)


@pytest.mark.parametrize(
    ("requested", "chosen"),
    [
        (["sensors"], ["sensors.data", "sensors.raw.data"]),
        (["sensors.raw"], ["sensors.raw.data"]),
        (["alerts", "alerts"], ["alerts"]),
        (["sensors.data", "sensors"], ["sensors.data", "sensors.raw.data"]),
        ([" alerts "], ["alerts"]),
        ([], []),
    ],
)
def test_a_name_stands_for_everything_under_it(requested: list[str], chosen: list[str]) -> None:
    assert expand_queues(requested, QUEUES) == chosen


@pytest.mark.parametrize("requested", ["sensor", "sensors.", "sensors.dat", "celery", "data"])
def test_unknown_queue_lists_the_queues_there_are(requested: str) -> None:
    with pytest.raises(UnknownQueueError) as caught:
        expand_queues(["alerts", requested], QUEUES)
    assert repr(requested) in str(caught.value)
    assert ", ".join(sorted(QUEUES)) in str(caught.value)


@pytest.mark.parametrize("requested", [[""], [" "], ["", ""], ["alerts", ""], ["alerts", "\t"]])
def test_an_empty_name_is_no_queue_and_not_all_of_them(requested: list[str]) -> None:
    with pytest.raises(EmptyQueueNameError, match=r"is a variable not set\?.*alerts"):
        expand_queues(requested, QUEUES)


def test_application_without_routes_is_told() -> None:
    with pytest.raises(UnknownQueueError, match="none: the application has no routes"):
        expand_queues(["sensors"], [])


def test_every_key_is_under_the_prefix_and_none_is_twice() -> None:
    keys = Keys("p:")
    made = [
        keys.queue("q"), keys.delayed("q"), keys.unacked, keys.unacked_index, keys.lease("g"), keys.counted_routes,
        keys.counters("r"), keys.dead_routes, keys.dead_by_time("r"), keys.dead_by_reason("r", "failed"),
        keys.dead_by_error("r", "f"), keys.dead_counters("r"), keys.dead_audit, keys.paused_routes,
    ]  # fmt: skip
    assert all(key.startswith("p:") for key in made)
    assert len(set(made)) == len(made)


def test_the_doctor_knows_the_type_of_every_key_that_there_is_once() -> None:
    keys = Keys("prefix:")
    kinds = {"hash": "hash", "sorted set": "zset", "string": "string", "set": "set", "stream": "stream"}
    found = {
        getattr(keys, name): next(kind for words, kind in kinds.items() if words in (told.__doc__ or "").lower())
        for name, told in vars(Keys).items()
        if isinstance(told, property) and isinstance(getattr(keys, name), str)
    }
    assert found == expected_types(keys, [])
