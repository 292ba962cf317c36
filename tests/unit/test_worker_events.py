"""Events that cannot be sent."""

from celery import Celery
from routemq_tasks.upstream.events import MOST_BATCHES_KEPT, BatchingDispatcher


class _Away:
    """What publishes to a server that is not there."""

    def publish(self, *_args: object, **_options: object) -> None:
        raise ConnectionRefusedError


def test_of_batches_that_cannot_be_sent_the_newest_are_kept() -> None:
    app = Celery(broker="memory://", set_as_current=False)
    lost, following = (
        BatchingDispatcher(app.connection(), app=app, buffer_group=["task"], buffer_limit=5) for _ in range(2)
    )
    lost.producer = _Away()
    for number in range(5 * (MOST_BATCHES_KEPT + 20) + 3):
        lost.send("task-started", uuid=str(number))

    following.extend_buffer(lost)

    batches = [batch for batch, _ in following._outbound_buffer]
    assert [batch[0]["uuid"] for batch in batches] == [str(5 * number) for number in range(20, MOST_BATCHES_KEPT + 20)]
    assert [event["uuid"] for event in following._group_buffer["task"]] == ["600", "601", "602"]


def test_what_is_sent_soon_is_what_celery_would_send() -> None:
    app = Celery(broker="memory://", set_as_current=False)
    events = BatchingDispatcher(app.connection(), app=app, buffer_group=["task"], buffer_limit=5)
    events.send("task-started", uuid="one", args="\x1b[2J", result=3)
    events.send_soon("task-started", uuid="one", args="\x1b[2J", result=3)

    first, second = events._group_buffer["task"]
    assert (second.pop("clock") - first.pop("clock"), second.pop("timestamp") >= first.pop("timestamp")) == (1, True)
    assert second == first
    assert first["args"] == r"\x1b[2J"


def test_what_is_sent_soon_goes_out_when_its_batch_is_full_and_only_to_who_listens() -> None:
    app = Celery(broker="memory://", set_as_current=False)
    events = BatchingDispatcher(app.connection(), app=app, buffer_group=["task"], buffer_limit=2)
    events.producer = _Away()
    for number in range(3):
        events.send_soon("task-started", uuid=str(number))
    assert [[event["uuid"] for event in batch] for batch, _ in events._outbound_buffer] == [["0", "1"]]

    of_workers = BatchingDispatcher(app.connection(), app=app, buffer_group=["task"], groups=["worker"])
    of_workers.send_soon("task-started", uuid="one")
    assert not of_workers._group_buffer["task"]
