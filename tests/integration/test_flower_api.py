"""What the JSON API inside Flower refuses, and what it does not wait for."""

import base64
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.flower import Place, request, serving
from tests.servers import Redis

ANA = {"Authorization": "Basic " + base64.b64encode(b"ana:secret").decode()}


@pytest.fixture(scope="module")
def place(redis_server: Redis) -> Iterator[Place]:
    with serving(redis_server, "--basic_auth=ana:secret") as started:
        yield started


def ask(place: Place, path: str) -> tuple[int, dict[str, Any]]:
    return request(f"{place.url}/api/dead-letters{path}", headers=ANA)


@pytest.mark.parametrize(
    "query",
    [
        *(f"limit={quote(text)}" for text in ("", "0", "0000000050999", "-1", "1e2", "nan", "5_0", "٥", "9" * 5000)),
        *(f"after={quote(text)}" for text in ("", "nan/x", "inf/x", "-inf/x", "-1.0/x", "1e400/x", "1_0.0/x", "٥.0/x")),
        *(f"after={quote(text)}" for text in ("5/x", "5.0/", "/x", "no such letter", "00005.0/x")),
        *(f"since={quote(text)}" for text in ("", "nan", "inf", "-5", "1e300", "٢h", "9" * 400, "1_790_000_000")),
        "contains=",
        "erorr=TimeoutError",
        "limt=5",
        "error=",
        "route=a&route=b",
    ],
)
def test_a_query_that_means_nothing_is_refused_in_a_line(place: Place, query: str) -> None:
    status, answer = ask(place, f"?{query}")
    assert (status, "cannot be used" in answer["error"]) == (400, True), answer
    assert len(answer["error"]) < 400
    if not query.startswith(("lim", "after=no")):
        assert ask(place, f"/count?{query}")[0] == 400


def test_numbers_that_mean_something_are_taken(place: Place) -> None:
    letters = [place.bury(f"waiting/{number}") for number in range(3)]
    status, page = ask(place, "?limit=002")
    assert (status, [letter["id"] for letter in page["letters"]]) == (200, letters[:0:-1])
    assert [letter["id"] for letter in ask(place, f"?after={quote(page['next'])}")[1]["letters"]] == letters[:1]
    assert [letter["id"] for letter in ask(place, f"?after={quote(letters[1])}")[1]["letters"]] == letters[:1]
    assert ask(place, "/audit?limt=5")[0] == 400


def test_a_large_payload_is_looked_at_without_keeping_anyone_waiting(place: Place) -> None:
    payload = b'{"blob": "' + b"x" * 24_000_000 + b'"}'
    letter = place.bury("waiting/large", payload)
    longest, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            began = time.monotonic()
            urllib.request.urlopen(f"{place.url}/healthcheck", timeout=60).close()
            longest[0] = max(longest[0], time.monotonic() - began)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        status, shown = ask(place, f"/letter/{quote(letter)}")
    finally:
        ended.set()
        watcher.join()
    assert (status, shown["payload"]["kind"], shown["payload"]["bytes"]) == (200, "json", len(payload))
    assert shown["payload"]["is_cut"] is True
    # Of the beginning alone: the rest of the message was not decoded.
    assert shown["mqtt"] is None
    assert payload.decode().startswith(shown["payload"]["text"])
    assert len(shown["payload"]["text"]) > 10_000
    assert longest[0] < 1.5

    url = f"{place.url}/api/dead-letters/letter/{quote(letter)}/payload"
    with urllib.request.urlopen(urllib.request.Request(url, headers=ANA), timeout=30) as answer:
        assert answer.headers["Content-Length"] == str(len(payload))
        assert answer.read() == payload
