"""What a child of the prefork pool has of its parent, and what of its own."""

import os

import pytest
from celery import signals
from routemq_tasks.app import RouteMQCelery

from routemq import Router
from routemq.settings import Settings


def test_what_records_outcomes_is_made_before_the_fork_for_all_children_and_for_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = RouteMQCelery(Settings(redis_url="redis://unused"), Router())
    app.before_fork()
    parents, children = app.process, []
    for pid in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        signals.worker_process_init.send(sender=None)
        children.append(app.process)
    first, second = children
    assert first.outcomes is second.outcomes is not parents.outcomes
    assert first.publisher is not second.publisher
    monkeypatch.setattr(os, "getpid", lambda: 3)
    # A controller has forked it.
    assert app.process.outcomes is not second.outcomes
