"""How somebody is told."""

import contextlib
import http.server
import logging
import threading
from dataclasses import replace

import pytest

from routemq.alerts import delivery as delivery_module
from routemq.alerts.delivery import Alert, Delivery
from routemq.errors import ConfigurationError
from routemq.settings import Settings
from tests.processes import wait_until
from tests.servers import HOST

ALERT = Alert(event="began", key="ingest", text="no ingest", group="routemq", since=0.0, at=0.0)


def test_a_hook_that_ends_what_calls_it_is_told_as_one_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    delivery = Delivery(Settings(_env_file=None, alert_hook="sys:exit"))  # type: ignore[call-arg]
    with caplog.at_level(logging.ERROR):
        assert delivery.deliver(ALERT)
    assert "ALERT_HOOK failed: SystemExit: Alert(" in caplog.text


def returns_a_coroutine(alert: Alert) -> object:
    async def tell() -> None:
        """Never."""

    return tell()


def test_a_hook_that_leaves_its_work_to_who_awaits_it_is_told_as_one_that_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    delivery = Delivery(Settings(_env_file=None, alert_hook=f"{__name__}:returns_a_coroutine"))  # type: ignore[call-arg]
    assert delivery.deliver(ALERT)
    assert "ALERT_HOOK failed: it returned a coroutine" in caplog.text


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Sends everybody elsewhere, where all is well."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(int(self.path.rpartition("/")[2]))
        self.send_header("Location", "/login")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_an_alert_that_is_sent_elsewhere_has_not_arrived(caplog: pytest.LogCaptureFixture, status: int) -> None:
    with http.server.HTTPServer((HOST, 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://{HOST}:{server.server_port}/{status}"
        delivery = Delivery(Settings(_env_file=None, alert_webhook=url))  # type: ignore[call-arg]
        assert not delivery.deliver(ALERT)
        server.shutdown()
    assert f"HTTP Error {status}" in caplog.text


class Dripping(http.server.BaseHTTPRequestHandler):
    """Answers byte by byte, each within any time for one."""

    def do_POST(self) -> None:
        with contextlib.suppress(OSError):
            self.wfile.write(b"HTTP/1.0 200 ")
            while not ENDED.wait(0.05):
                self.wfile.write(b"O")

    def log_message(self, *args: object) -> None:
        """Say nothing."""


ENDED, HEARD = threading.Event(), list[Alert]()


def hang(alert: Alert) -> None:
    HEARD.append(alert)
    ENDED.wait()


def test_neither_a_function_nor_an_address_that_does_not_end_holds_up_the_next_alert(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "_TIMEOUT_S", 0.3)
    ENDED.clear()
    HEARD.clear()
    with http.server.ThreadingHTTPServer((HOST, 0), Dripping) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://{HOST}:{server.server_port}/"
        delivery = Delivery(Settings(_env_file=None, alert_webhook=url, alert_hook=f"{__name__}:hang"))  # type: ignore[call-arg]
        threads = threading.active_count()
        for number in range(20):
            assert not delivery.deliver(replace(ALERT, key=str(number)))
        # One for each of the two, and one of the server's.
        assert threading.active_count() <= threads + 3
        assert [alert.key for alert in HEARD] == ["0"]
        ENDED.set()
        server.shutdown()
    # What is slow for once misses nothing.
    wait_until(lambda: len(HEARD) == 20, message="the function is told the rest")
    assert [alert.key for alert in HEARD] == [str(number) for number in range(20)]
    for who in ("ALERT_HOOK", "ALERT_WEBHOOK"):
        told = [record.getMessage() for record in caplog.records if who in record.getMessage()]
        assert "it takes longer than 0.3 s" in told[0]
        assert "it is still at an earlier one" in told[1]


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hush@localhost/x", "https://hush@localhost/x", "http://localhost/hooks/hush token",
        "http://localhost/h\u00fcsh", "http:///hush", "http://[hush/x", "http://localhost:hush/", "ftp://localhost/hush",
        "hush",
    ],
)  # fmt: skip
def test_what_is_no_address_is_told_at_once_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Delivery(Settings(_env_file=None, alert_webhook=url))  # type: ignore[call-arg]
    assert "ALERT_WEBHOOK" in str(refused.value)
    assert "hush" not in str(refused.value)
