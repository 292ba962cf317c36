"""Which broker our processes use: REDIS_URL, whatever the environment says to Celery."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from routemq_tasks.app import RouteMQCelery
from routemq_tasks.broker_settings import OtherBrokerError, check_settings, place

from routemq.routing import Router
from routemq.settings import Settings
from tests.processes import clean_environment
from tests.servers import REPOSITORY

OURS = "redis://:secret@ours.invalid:7000/1"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> RouteMQCelery:
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.setenv(name, "redis://theirs.invalid:7001/0")
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "no_such_module")
    monkeypatch.setenv("CELERY_LOADER", "no_such_module:Loader")
    return RouteMQCelery(Settings(redis_url=OURS), Router())


def _uris(app: Any) -> set[str]:
    connections = app.connection(), app.connection_for_read(), app.connection_for_write(), app.broker_connection()
    return {connection.as_uri(include_password=True) for connection in connections}


def test_the_environment_moves_neither_broker_nor_result_backend(app: RouteMQCelery) -> None:
    assert _uris(app) == {OURS}
    assert {app.conf.broker_url, app.conf.broker_read_url, app.conf.broker_write_url} == {OURS}
    assert app.conf.result_backend is None
    assert app.backend.as_uri() == "disabled://"


def test_a_worker_can_answer_what_its_connection_is(app: RouteMQCelery) -> None:
    told = json.loads(json.dumps(app.connection_for_read().info()))
    assert (told["transport"], told["hostname"]) == ("redis", "ours.invalid")
    assert app.connection_for_read().refuse == app.refuse


def test_settings_of_the_application_leave_the_broker_alone(app: RouteMQCelery) -> None:
    class Theirs:
        broker_url = broker_read_url = "redis://theirs.invalid:7001/0"
        result_backend = "redis://theirs.invalid:7001/0"
        timezone = "Europe/Berlin"

    app.config_from_object(Theirs)

    assert app.conf.timezone == "Europe/Berlin"
    assert _uris(app) == {OURS}
    assert app.backend.as_uri() == "disabled://"
    assert app.connection().get_transport_cls().__module__ == "routemq_transport.transport"


@pytest.mark.parametrize("setting", ["broker.url=redis://x", "BROKER_READ_URL=redis://x", "result.backend=redis://x"])
def test_settings_behind_a_command_leave_the_broker_alone(setting: str) -> None:
    with pytest.raises(OtherBrokerError, match=r"REDIS_URL, redis://ours.invalid:7000/1"):
        check_settings(["prefetch_multiplier=2", setting], OURS)
    check_settings(["prefetch_multiplier=2", "--flag"], OURS)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost"),
        ("rediss://user:p%40ss@host:1/2?ssl_ca_certs=/x", "rediss://host:1/2"),
        ("redis://default:99#bottles@host:1/2", "redis://host:1/2"),
        ("redis://a:b/c?d@e@host", "redis://host"),
        ("sentinel://:one@a;sentinel://:two@b", "sentinel://b"),
        ("proj.celeryconfig", "proj.celeryconfig"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert place(url) == shown


def test_what_is_global_in_the_process_stays_as_it_was() -> None:
    seen = """
import json
import logging, sys, warnings
import celery, kombu, redis
from celery import Task
from celery._state import _tls
from celery.worker.request import Request
from kombu.serialization import registry
from kombu.transport import TRANSPORT_ALIASES, virtual
import kombu.transport.redis as stock

def state():
    return {
        "aliases": dict(TRANSPORT_ALIASES),
        "resolve": dict(kombu.Connection.resolve_aliases),
        "codecs": repr([registry._encoders, registry._decoders, registry._disabled_content_types]),
        "classes": repr([sorted(vars(one).items(), key=str) for one in (
            Task, Request, stock.Channel, stock.Transport, stock.QoS, virtual.Channel, kombu.Connection, celery.Celery,
        )]),
        "current": repr(getattr(_tls, "current_app", None)),
        "warnings": repr(warnings.filters),
        "levels": {name: logging.getLogger(name).level for name in ("", "celery", "kombu", "celery.app.trace")},
    }

billing = celery.Celery("billing", broker="redis://theirs.invalid:7001/0")
before = state()
import routemq.celery
after = state()
assert routemq.celery.app.connection().get_transport_cls() is not stock.Transport
assert billing.connection().get_transport_cls() is stock.Transport
assert billing.Task.Request == "celery.worker.request:Request"
print(json.dumps([name for name in before if before[name] != after[name]]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", seen],
        cwd=REPOSITORY, env=clean_environment({"REDIS_URL": OURS, "PYTHONPATH": os.fspath(REPOSITORY)}),
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == []
