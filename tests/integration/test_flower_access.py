"""Who may look at dead letters and who may change them, asked in the bytes that browsers, proxies, strangers send."""

import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
import pytest

from tests.flower import READINGS, Place, request, serving
from tests.processes import PATIENCE_S
from tests.servers import HOST, Redis

LOOPBACK_NAMES = ("localhost", "LOCALHOST:5555", "127.0.0.1", "127.1.2.3:80", "[::1]:5555", "flower.localhost")
FOREIGN_NAMES = ("evil.example:5555", "0.0.0.0", "localhost.evil.example", "192.0.2.1", "[::]", "[fe80::1]", "")
PROXY_HEADERS = (
    "X-Forwarded-For: 127.0.0.1",
    "x-forwarded-host: localhost",
    "X-Forwarded-Proto: http",
    "X-Real-IP: 127.0.0.1",
    "Forwarded: for=127.0.0.1;host=localhost",
    "Via: 1.1 gateway",
)


class Stranger:
    """Speaks HTTP over a socket, so that no library adds or refuses a header.

    Args:
        address: A host and a port, or the path of a Unix socket.
    """

    def __init__(self, address: tuple[str, int] | str) -> None:
        self.address = address

    def ask(self, method: str, path: str, *headers: str, version: str = "1.1") -> int:
        """Send a request with an empty object and return the status."""
        return self._exchange(method, path, headers, version)[0]

    def own_page(self) -> tuple[str, str]:
        """Return the two headers that the scripts of a page of ours send."""
        status, head = self._exchange("GET", "/dead-letters", ("Host: localhost",), "1.1")
        assert status == 200
        cookie = next(line for line in head.splitlines() if line.startswith("Set-Cookie: _xsrf="))
        token = cookie.partition("=")[2].partition(";")[0]
        return f"Cookie: _xsrf={token}", f"X-XSRFToken: {token}"

    def _exchange(self, method: str, path: str, headers: tuple[str, ...], version: str) -> tuple[int, str]:
        lines = (f"{method} {path} HTTP/{version}", *headers, "Content-Length: 2", "Connection: close")
        with self._connected() as connection:
            connection.sendall("\r\n".join((*lines, "", "{}")).encode())
            answer = b"".join(iter(lambda: connection.recv(65_536), b"")).decode()
        return int(answer.split(" ", 2)[1]), answer.partition("\r\n\r\n")[0]

    def _connected(self) -> socket.socket:
        if not isinstance(self.address, str):
            return socket.create_connection(self.address, timeout=10)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(self.address)
        return connection


def discard(letter: str) -> str:
    return f"/api/dead-letters/letter/{quote(letter)}/discard"


@pytest.fixture(scope="module")
def place(redis_server: Redis) -> Iterator[Place]:
    """A Flower without a password, as `routemq dev` starts it."""
    with serving(redis_server) as started:
        yield started


def test_without_a_password_only_its_own_pages_change_anything(place: Place) -> None:
    listening = [
        found.laddr.ip for found in psutil.Process(place.process.pid).net_connections() if found.status == "LISTEN"
    ]
    assert listening == ["127.0.0.1"]

    letter = place.bury("waiting/guarded")
    discard = f"{place.url}/api/dead-letters/letter/{letter}/discard"
    with urllib.request.urlopen(f"{place.url}/dead-letters", timeout=PATIENCE_S) as answer:
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
    own_page = {"Cookie": cookie, "X-XSRFToken": cookie.partition("=")[2], "Sec-Fetch-Site": "same-origin"}
    no_token = own_page | {"X-XSRFToken": ""}
    foreign_site = own_page | {"Sec-Fetch-Site": "cross-site"}
    foreign_page = own_page | {"Origin": "http://evil.example"}
    foreign_name = own_page | {"Host": "evil.example:5555"}
    for headers in ({}, no_token, foreign_site, foreign_page, foreign_name):
        assert request(discard, method="POST", body={}, headers=headers)[0] == 401
    assert request(f"{place.url}/api/dead-letters")[0] == 401
    assert request(f"{place.url}/api/dead-letters", headers=own_page)[0] == 200

    # The server checks an edit too, and every refusal is one line.
    reading = place.bury("readings/guarded", b"[]", route=READINGS)
    replay = f"{place.url}/api/dead-letters/letter/{reading}/replay"
    status, answer = request(replay, method="POST", body={"payload": '{"temperature": "100%d"}'}, headers=own_page)
    assert (status, answer["error"].partition(":")[0]) == (422, "payload")
    filters: list[Any] = [{"rute": "x"}, {"since": "100%d"}, {"error": ""}, {"error": None}, {"topic": " "}, []]
    refused: list[Any] = [{"filter": wanted} for wanted in filters]
    refused += [{"filter": {}, "ids": []}, {"filter": {}, "resume": ""}, {"filter": {}, "filters": {"route": "x"}}]
    refused += [{"filter": {}, "force": "no"}, {"ids": []}, {"ids": [""]}, {}, []]
    for body in refused:
        status, answer = request(f"{place.url}/api/dead-letters/discard", method="POST", body=body, headers=own_page)
        assert (status, "cannot be used" in answer["error"]) == (400, True)
    for edit in ({"payload": None}, {"paylaod": "[1]"}):
        assert request(replay, method="POST", body=edit, headers=own_page)[0] == 400
    assert request(f"{place.url}/api/dead-letters?error=", headers=own_page)[0] == 400
    assert request(replay.replace("/replay", "/discard"), method="POST", body={}, headers=own_page)[0] == 200
    status, answer = request(discard, method="POST", body={}, headers=own_page)
    assert (status, answer["done"]) == (200, 1)
    assert request(discard, method="POST", body={}, headers=own_page)[0] == 404


def test_on_loopback_only_a_loopback_name_is_answered(place: Place) -> None:
    stranger = Stranger((HOST, urlsplit(place.url).port or 0))
    own_page = stranger.own_page()
    for name in LOOPBACK_NAMES:
        letter = place.bury("waiting/mine")
        assert stranger.ask("GET", "/api/dead-letters", f"Host: {name}", *own_page) == 200, name
        assert stranger.ask("POST", discard(letter), f"Host: {name}", *own_page) == 200, name

    letter = place.bury("waiting/kept")
    for name in FOREIGN_NAMES:
        refusals = (400, 401) if not name else (401,)
        assert stranger.ask("GET", "/api/dead-letters", f"Host: {name}", *own_page) in refusals, name
        assert stranger.ask("POST", discard(letter), f"Host: {name}", *own_page) in refusals, name
        assert stranger.ask("GET", "/dead-letters", f"Host: {name}") in (400, 403), name
    assert stranger.ask("POST", discard(letter), *own_page, version="1.0") == 401
    assert stranger.ask("GET", "/api/dead-letters", *own_page, version="1.0") == 401

    # A proxy on this machine brings anybody's request.
    for header in PROXY_HEADERS:
        assert stranger.ask("POST", discard(letter), "Host: localhost", header, *own_page) == 401, header
    for origin in ("http://evil.example", "null", "http://localhost:1", "https://[bad", "localhost"):
        assert stranger.ask("POST", discard(letter), "Host: localhost", f"Origin: {origin}", *own_page) == 401, origin
    assert stranger.ask("POST", discard(letter), "Host: localhost", "Sec-Fetch-Site: same-site", *own_page) == 401
    assert stranger.ask("POST", discard(letter), "Host: localhost", own_page[0]) == 401
    assert stranger.ask("POST", discard(letter), "Host: localhost", "Origin: http://localhost", *own_page) == 200


@pytest.mark.parametrize(
    "listening", ["every IPv4 address", "every IPv6 address", "its own address too", "a Unix socket"]
)
def test_beyond_loopback_nothing_is_changed_without_a_password(
    redis_server: Redis, listening: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "flower.sock")
    options, peer = {
        "every IPv4 address": (("--address=0.0.0.0", "--xheaders=True"), HOST),
        "every IPv6 address": (("--address=::",), "::1"),
        "its own address too": ((f"--address={own_address()}",), own_address()),
        "a Unix socket": ((f"--unix_socket={path}",), None),
    }[listening]
    with serving(redis_server, *options) as place:
        stranger = Stranger(path if peer is None else (peer, urlsplit(place.url).port or 0))
        letter = place.bury("waiting/kept")
        own_page = stranger.own_page()
        assert stranger.ask("GET", "/api/dead-letters", "Host: flower.example", *own_page) == 200
        for name in (*LOOPBACK_NAMES, *filter(None, FOREIGN_NAMES)):
            for header in ("Accept: */*", *PROXY_HEADERS):
                for change in (discard(letter), "/api/dead-letters/discard"):
                    assert stranger.ask("POST", change, f"Host: {name}", header, *own_page) == 401, (name, header)
        assert stranger.ask("POST", discard(letter), *own_page, version="1.0") == 401
        assert stranger.ask("GET", f"/api/dead-letters/letter/{quote(letter)}", "Host: localhost", *own_page) == 200


def own_address() -> str:
    """Return an address of this machine that others may reach."""
    addresses = [
        address.address
        for interface in psutil.net_if_addrs().values()
        for address in interface
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    ]
    return addresses[0] if addresses else "0.0.0.0"
