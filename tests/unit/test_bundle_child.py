"""What a child of the prefork pool makes of what comes through its pipe."""

from typing import Any

import pytest
from billiard import get_context
from billiard.pool import TASK
from routemq_tasks.bundle_page import OFFERED, BundlePage
from routemq_tasks.upstream.pipes import QuickWorker, bundled


@pytest.mark.parametrize("begun", [0, 1])
def test_a_child_that_is_replaced_begins_nothing_more_of_its_bundle(begun: int) -> None:
    context: Any = get_context("fork")
    inbound, outbound, replaced = context.SimpleQueue(), context.SimpleQueue(), context.Event()
    worker: Any = QuickWorker(inbound, outbound, sentinel=replaced)
    page = worker.page = BundlePage(context.Lock())
    worker._make_child_methods()
    calls: list[Any] = [(print, (number,), {}) for number in range(2)]
    with inbound._writer, inbound._reader, outbound._writer, outbound._reader:
        inbound._writer._send(bundled(page.offer(2), calls))
        for number in range(begun):
            assert worker.wait_for_job() == (TASK, (None, None, *calls[number]))
        # As `pool_restart` does, for all children at once.
        replaced.set()
        with pytest.raises(SystemExit) as ended:
            worker.wait_for_job()
    assert ended.value.code == 0
    assert page.state(begun) == OFFERED
