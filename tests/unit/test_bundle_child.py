"""What a child of the prefork pool makes of what comes through its pipe."""

from functools import partial
from types import SimpleNamespace
from typing import Any, Self

import pytest
from billiard import get_context
from billiard.pool import TASK
from celery.app import trace as celerys
from routemq_tasks.bundle_page import BEGUN, DONE, OFFERED, BundlePage
from routemq_tasks.upstream.pipes import QuickWorker, bundled
from routemq_tasks.upstream.tracer import run_route


class Child:
    """A child that has no parent, with a bundle of calls in its pipe."""

    def __init__(self, calls: list[Any], **options: Any) -> None:
        context: Any = get_context("fork")
        self.inbound, self.outbound, self.replaced = context.SimpleQueue(), context.SimpleQueue(), context.Event()
        self.worker: Any = QuickWorker(self.inbound, self.outbound, sentinel=self.replaced, **options)
        self.page = self.worker.page = BundlePage(context.Lock())
        self.worker._make_child_methods()
        self.inbound._writer._send(bundled(self.page.offer(len(calls)), calls))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self.inbound._writer, self.inbound._reader, self.outbound._writer, self.outbound._reader):
            end.close()


def traced(name: str, _uuid: str, _args: Any, _kwargs: Any, _request: Any) -> Any:
    """A tracer of a task that does as its name says."""
    if name == "leave":
        raise SystemExit(3)
    if name == "fail":
        return None, ValueError("no"), 0.1, "no"
    return None, None, None if name == "no end" else 0.1, repr(None)


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("quick", "fail", "leave", "no end")
    found = {name: SimpleNamespace(__trace__=partial(traced, name)) for name in names}
    monkeypatch.setattr(celerys, "_localized", [found, None, None])


def call(name: str) -> Any:
    return run_route, (name, "id", {"args": [], "kwargs": {}}), {}


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize("name", ["fail", "leave", "no end"])
def test_a_run_that_is_done_is_told_by_the_page_alone_and_any_other_where_each_run_is_seen(name: str) -> None:
    with Child([call("quick"), call("quick"), call(name), call("quick")]) as child:
        kind, (_, _, function, args, options) = child.worker.wait_for_job()
        assert kind == TASK
        assert [child.page.state(slot) for slot in range(4)] == [DONE, DONE, BEGUN, OFFERED]
        if name == "leave":
            with pytest.raises(SystemExit) as ended:
                function(*args, **options)
            assert ended.value.code == 3
        else:
            assert function(*args, **options) == run_route(*call(name)[1])


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize("options", [{"maxtasks": 3}, {"max_memory_per_child": 1}])
def test_a_child_that_is_replaced_after_so_much_has_each_run_seen(options: Any) -> None:
    with Child([call("quick")], **options) as child:
        _, (_, _, function, *_) = child.worker.wait_for_job()
        assert function is run_route


@pytest.mark.parametrize("begun", [0, 1])
def test_a_child_that_is_replaced_begins_nothing_more_of_its_bundle(begun: int) -> None:
    calls: list[Any] = [(print, (number,), {}) for number in range(2)]
    with Child(calls) as child:
        for number in range(begun):
            assert child.worker.wait_for_job() == (TASK, (None, None, *calls[number]))
        # As `pool_restart` does, for all children at once.
        child.replaced.set()
        with pytest.raises(SystemExit) as ended:
            child.worker.wait_for_job()
    assert ended.value.code == 0
    assert child.page.state(begun) == OFFERED
