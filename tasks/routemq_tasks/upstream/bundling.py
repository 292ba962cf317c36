"""Which of the jobs that wait become a bundle."""

from collections import deque
from typing import Any

from routemq_tasks.bundle_page import SLOTS, BundlePage
from routemq_tasks.request import RouteRequest
from routemq_tasks.run_times import BUNDLE_S, RunTimes
from routemq_tasks.upstream.bundle import is_revoked, request_of
from routemq_tasks.upstream.pipes import bundled, room_of

_LITTLE_S = BUNDLE_S / 10


def next_bundle(waiting: deque[Any], child: Any, times: RunTimes, *, idle: int) -> tuple[list[Any], bytes]:
    """Take what is next from what waits, and offer it to an idle child; nothing when that is not for a bundle.

    Args:
        idle: How many children are, this one among them.

    Returns:
        The jobs, and how they are written.
    """
    page: BundlePage | None = child.page
    if page is None:
        return [], b""
    room_bytes = room_of(child.inqW_fd)
    # A share of it for each, so that nobody has nothing to do; but a little is not worth another's waking up.
    jobs = _fitting(waiting, times, share=-(-len(waiting) // max(1, idle)), room_bytes=room_bytes)
    while jobs:
        try:
            data = bundled(page.offer(len(jobs)), [job.call for job in jobs])
        # It is nested too deep, say: by itself it is refused with its error.
        except Exception:  # noqa: BLE001
            data = b""
        if data and len(data) <= room_bytes:
            return jobs, data
        kept = len(jobs) // 2
        waiting.extendleft(reversed(jobs[kept:]))
        jobs = jobs[:kept]
    return [], b""


def _fitting(waiting: deque[Any], times: RunTimes, *, share: int, room_bytes: int) -> list[Any]:
    jobs: list[Any] = []
    expected_s, bodies_bytes = 0.0, 0
    while waiting and len(jobs) < SLOTS and (len(jobs) < share or expected_s < _LITTLE_S):
        job = waiting[0]
        if is_revoked(job):
            waiting.popleft()
            job.discard()
            continue
        request = request_of(job)
        if not isinstance(request, RouteRequest):
            break
        expected_s += times.expected_s(request.name)
        bodies_bytes += len(request.message.body)
        is_suspect = request.has_strikes
        if jobs and (expected_s > BUNDLE_S or bodies_bytes > room_bytes or is_suspect):
            break
        jobs.append(waiting.popleft())
        if is_suspect:
            break
    return jobs
