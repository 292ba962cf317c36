"""What answers probes, and what tells systemd."""

import socket
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from routemq.metrics import http
from routemq.metrics.http import HealthServer
from routemq.supervision.systemd import ServiceWatch
from tests.processes import PATIENCE_S, wait_until
from tests.servers import HOST, free_port
from tests.systemd import listening


class Nothing(Collector):
    def collect(self) -> Iterable[Metric]:
        return []


class Well:
    alive = ready = True

    def to_json(self) -> dict[str, Any]:
        return {"ready": True}


def test_a_hundred_who_come_at_once_are_let_in() -> None:
    port = free_port()
    server = HealthServer(port, Well, Nothing())
    with ExitStack() as stack:
        for _ in range(100):
            asking = stack.enter_context(socket.create_connection((HOST, port), timeout=0.9))
        asking.settimeout(PATIENCE_S)
        server.start()
        asking.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        assert asking.recv(100).startswith(b"HTTP/1.0 200")
        server.stop()


def test_who_does_not_say_what_he_wants_is_broken_off_and_keeps_no_probe_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_REQUEST_TIMEOUT_S", 1.0)
    port = free_port()
    with HealthServer(port, Well, Nothing()), ExitStack() as stack:
        others = threading.active_count()
        dawdlers = [stack.enter_context(socket.create_connection((HOST, port))) for _ in range(150)]

        def threads_after_a_byte() -> int:
            # Each byte is within any time for one.
            for dawdler in dawdlers:
                with suppress(OSError):
                    dawdler.sendall(b"G")
            return threading.active_count() - others

        assert answer(port, b"GET /readyz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200")
        wait_until(lambda: threads_after_a_byte() < 100, message="the first ones are broken off for the next")
        assert answer(port, b"GET /readyz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200")
        wait_until(lambda: threads_after_a_byte() == 0, message="so are the last ones, whatever they go on to send")


def test_probes_may_come_by_ipv6_and_ask_for_the_head_alone() -> None:
    port = free_port()
    with HealthServer(port, Well, Nothing()):
        for host in (HOST, *(("::1",) if socket.has_dualstack_ipv6() else ())):
            head, _, body = answer(port, b"HEAD /readyz HTTP/1.0\r\n\r\n", host=host).partition(b"\r\n\r\n")
            assert (head.startswith(b"HTTP/1.0 200"), body) == (True, b"")


class Hostile:
    """Is in no state to say how it is."""

    alive = ready = True

    def to_json(self) -> dict[str, Any]:
        raise SystemExit


class Broken(Collector):
    def collect(self) -> Iterable[Metric]:
        raise RuntimeError("dictionary changed size during iteration")


def told(health: Any, metrics: Collector, path: bytes) -> bytes:
    port = free_port()
    with HealthServer(port, health, metrics):
        return answer(port, b"GET %b HTTP/1.0\r\n\r\n" % path)


class Odd(Well):
    def to_json(self) -> dict[str, Any]:
        return {"at": object()}


@pytest.mark.parametrize("health", [Hostile, Odd, lambda: 1 / 0])
def test_a_probe_that_cannot_be_answered_is_told_so(health: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert told(health, Nothing(), b"/healthz").startswith(b"HTTP/1.0 500")
    assert "a probe of /healthz cannot be answered: " in caplog.text


def test_metrics_that_cannot_be_read_are_told_as_such_and_leave_the_process_alive() -> None:
    assert told(Well, Broken(), b"/metrics").startswith(b"HTTP/1.0 500")
    assert told(Well, Broken(), b"/healthz").startswith(b"HTTP/1.0 200")


def answer(port: int, request: bytes, *, host: str = HOST) -> bytes:
    with socket.create_connection((host, port), timeout=PATIENCE_S) as asking:
        asking.sendall(request)
        return b"".join(iter(lambda: asking.recv(4096), b""))


def test_systemd_hears_of_a_process_also_after_one_look_has_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looks = []

    def look() -> Well:
        looks.append(1)
        if len(looks) == 1:
            raise RuntimeError("Set changed size during iteration")
        return Well()

    with listening(tmp_path) as systemd:
        for name, value in systemd.environment.items():
            monkeypatch.setenv(name, value)
        with ServiceWatch(look):
            systemd.hear(b"READY=1\nSTATUS=serving")
