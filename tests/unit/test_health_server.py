"""What answers probes, and what tells systemd."""

import socket
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from routemq.metrics.http import HealthServer
from routemq.supervision.systemd import ServiceWatch
from tests.processes import PATIENCE_S
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
