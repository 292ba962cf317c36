"""Alerts, with a real HTTP server at their end and a real fleet at their beginning."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from routemq.alerts.delivery import Alert, Delivery
from routemq.alerts.watch import AlertWatch
from routemq.metrics.presence import ProcessReport
from routemq.settings import Settings
from tests.processes import PATIENCE_S, wait_until
from tests.servers import HOST, Redis
from tests.workers import Bench

SECRET = "token-that-nobody-may-see"


class Listener:
    """An HTTP server that remembers what it was told, and may refuse it."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.refuses = False
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                alert = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                refuses = listener.refuses
                if refuses:
                    listener.refused.append(alert["key"])
                else:
                    listener.told.append(alert)
                self.send_response(503 if refuses else 204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_address[1]}/{SECRET}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def events(self, key: str) -> list[str]:
        return [alert["event"] for alert in list(self.told) if alert["key"] == key]


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


@contextlib.contextmanager
def watching(bench: Bench, listener: Listener, *, hook: str | None = None) -> Iterator[AlertWatch]:
    settings = Settings(_env_file=None, redis_url=bench.store.url, ROUTEMQ_KEY_PREFIX=bench.key_prefix,  # type: ignore[call-arg]
                        alert_webhook=listener.url, alert_hook=hook)  # fmt: skip
    with bench.store.client() as client:
        watch = AlertWatch(settings, client, Delivery(settings), queues={"slow": 2}, routes=(), look_every_s=0.1)
        watch.start()
        yield watch
        watch.stop()
        watch.join(PATIENCE_S)


def test_a_condition_is_told_once_when_it_begins_and_once_when_it_is_over(bench: Bench, listener: Listener) -> None:
    with watching(bench, listener):
        wait_until(lambda: listener.events("unserved:slow"), message="that nobody serves the queue is told")
        with bench.worker("-Q", "slow", "-P", "threads"):
            wait_until(lambda: listener.events("unserved:slow") == ["began", "ended"], message="and that it is over")
    began, *_ = [alert for alert in listener.told if alert["key"] == "unserved:slow"]
    assert "no worker consumes the queue slow" in began["text"]
    assert SECRET not in json.dumps(listener.told)


def test_several_watch_one_tells_and_the_next_one_goes_on(bench: Bench, listener: Listener) -> None:
    with watching(bench, listener) as first, watching(bench, listener):
        wait_until(lambda: listener.events("ingest"), message="it is told")
        looks = threading.Event()
        threading.Timer(1.0, looks.set).start()
        looks.wait()
        first.stop()
        first.join(PATIENCE_S)
        with bench.store.client() as client:
            client.delete(first._keys.alerts_lock)  # as it expires
        looks.clear()
        threading.Timer(1.0, looks.set).start()
        looks.wait()
    assert listener.events("ingest") == ["began"]


def test_another_programs_keys_stop_nothing_without_a_word(
    bench: Bench, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    keys = bench.keys
    with bench.store.client() as client:
        client.hset(keys.alerts, mapping={"x": "no JSON", "y": "[1]", "z": '["a", 1]', b"\xff": b"\xff"})
        client.set(keys.alerts_lock, "of another program")
        with watching(bench, listener):
            wait_until(lambda: keys.alerts_lock in caplog.text, message="the lock that nobody lets go is told")
            client.delete(keys.alerts_lock)
            wait_until(lambda: listener.events("ingest") == ["began"], message="it goes on")
    assert "is a key that stays where RouteMQ keeps a lock that expires" in caplog.text


HEARD: list[Alert] = []


def hear(alert: Alert) -> None:
    HEARD.append(alert)


def test_what_could_not_be_delivered_is_told_later_and_the_function_once(bench: Bench, listener: Listener) -> None:
    listener.refuses = True
    HEARD.clear()
    with watching(bench, listener, hook=f"{__name__}:hear") as watch, bench.store.client() as client:
        wait_until(lambda: listener.refused.count("ingest") > 2, message="it is told again and again")
        assert not client.exists(f"{bench.key_prefix}routemq:alerts")
        there = ProcessReport(kind="ingest", name="here", at=time.time() + 3600)
        client.hset(watch._keys.processes, "ingest:here", json.dumps(asdict(there)))
        wait_until(lambda: any(alert.event == "ended" for alert in HEARD), message="it is over before it was told")
        assert not listener.told
        client.delete(watch._keys.processes)
        wait_until(lambda: len([alert for alert in HEARD if alert.key == "ingest"]) == 3, message="it begins again")
        listener.refuses = False
        wait_until(lambda: listener.events("ingest") == ["began"], message="it is told")
    assert [alert.event for alert in HEARD if alert.key == "ingest"] == ["began", "ended", "began"]


def test_a_worker_watches_by_itself_and_calls_the_applications_function(bench: Bench, listener: Listener) -> None:
    env = {"ALERT_WEBHOOK": listener.url, "ALERT_HOOK": "tests.applications.execution:no_such_function"}
    with bench.worker("-Q", "slow", "-P", "threads", env=env, ready=False) as worker:
        assert worker.wait() == 1
        assert "Error: ALERT_HOOK" in worker.output()
    env["ALERT_HOOK"] = "builtins:print"
    with bench.worker("-Q", "slow", "-P", "threads", env=env) as worker:
        wait_until(lambda: listener.events("ingest") == ["began"], message="that ingest is away is told")
        worker.wait_for_output("Alert(event='began', key='ingest'")
        assert SECRET not in worker.output()
