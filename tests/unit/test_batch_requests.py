"""Messages that are one job of the pool's: none is forgotten, whoever fails to hear of it."""

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, Task
from celery.app.task import Context
from celery.exceptions import Reject
from routemq_tasks.batch_request import BatchRequest, hand_to_pool
from routemq_tasks.batch_run import BatchReport
from routemq_tasks.upstream.tracer import end


class Message:
    """As a request of a message, whose end is noted."""

    name, is_ended_by_command = "a/{b}", False

    def __init__(self, number: int, ends: dict[int, str], *, fails: bool = False) -> None:
        self.id, self._number, self._ends, self._fails = str(number), number, ends, fails
        self.acknowledged = False

    def _end(self, how: str) -> None:
        assert self._number not in self._ends
        self._ends[self._number], self.acknowledged = how, True

    def acknowledge_with_others(self) -> None:
        self._end("done")

    def on_success(self, _report: object) -> None:
        if self._fails:
            raise OSError("there is nobody to be told")
        self._end("not done")

    def reject(self, *, requeue: bool) -> None:
        self._end("given back" if requeue else "dropped")

    def send_event(self, *_: object, **__: object) -> None:
        """Nobody listens."""


def messages(count: int, ends: dict[int, str], *fail: int) -> Any:
    return [Message(number, ends, fails=number in fail) for number in range(count)]


def test_of_a_batch_whose_report_cannot_be_told_of_one_the_others_end_as_they_did() -> None:
    ends: dict[int, str] = {}
    consumer = SimpleNamespace()
    batch = BatchRequest(messages(4, ends, 1), consumer)
    failed = (1, None, None)
    batch.on_success((0, BatchReport(failed={0: failed, 1: failed, 2: failed}), 0.1))
    assert ends == {0: "not done", 1: "given back", 2: "given back", 3: "done"}


def test_a_batch_runs_whoever_fails_to_hear_of_its_start(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[int] = []

    def fail(*_: object) -> None:
        raise NotImplementedError("this pool ends no run")

    batch = messages(3, {})
    for number, message in enumerate(batch):
        message.message = None
        message.say_accepted = fail if number == 1 else lambda *_, number=number: heard.append(number)
    BatchRequest(batch, SimpleNamespace()).on_accepted(1, 0.0)
    assert heard == [0, 2]
    assert [record.message for record in caplog.records] == ["the start of a run is not told"]


@pytest.mark.parametrize("count", [1, 3])
def test_what_the_pool_does_not_take_goes_back(count: int) -> None:
    def refuse(_request: object) -> None:
        raise RuntimeError("can't start new thread")

    ends: dict[int, str] = {}
    hand_to_pool(messages(count, ends), SimpleNamespace(on_task_request=refuse))
    assert ends == dict.fromkeys(range(count), "given back")


def test_a_hook_that_fails_of_the_end_of_one_message_leaves_its_end_and_its_neighbours_alone() -> None:
    class Hooked(Task):  # type: ignore[misc]  # Celery has no types
        def on_failure(self, *_: object, **__: object) -> None:
            raise RuntimeError("the hook fails")

    app = Celery("hooked", set_as_current=False)
    task = app.task(base=Hooked, name="hooked", shared=False)(print)
    for error in (ValueError("no"), Reject("not recorded", requeue=True)):
        context: Any = Context({"id": "1", "args": (), "kwargs": {}}, called_directly=False)
        info = end(task, context, error, 0.1)
        assert info is not None
        assert getattr(info.exception, "exc", info.exception) is error
