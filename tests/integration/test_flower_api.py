"""What the JSON API inside Flower refuses, and what it does not wait for."""

import base64
import http.client
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from routemq.envelope import Envelope, TaskMessage
from routemq.metrics.history import add_counts, add_times
from routemq.metrics.totals import add_totals
from tests.flower import WAITING, Place, request, serving
from tests.processes import PATIENCE_S, wait_until
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


def test_what_a_request_says_reaches_the_log_printable(place: Place) -> None:
    for path in ("?since=%1b[31mred%0aforged", "/letter/no%1b[31mred%0aforged"):
        assert ask(place, path)[0] in (400, 404)
        place.process.wait_for_output("red\\nforged")
    assert "\x1b[31mred" not in place.process.output()


def test_an_export_that_breaks_off_is_taken_for_no_whole_one(own_store: Callable[..., Redis]) -> None:
    store = own_store()
    with serving(store, "--basic_auth=ana:secret") as place:
        # More than the buffers of a connection take.
        for _ in range(60):
            place.bury("waiting/large", b"x" * 300_000)
        asked = urllib.request.Request(f"{place.url}/api/dead-letters/export", headers=ANA)
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            assert answer.readline().startswith(b"{")
            store.kill()
            with pytest.raises(http.client.IncompleteRead):
                answer.read()


def test_a_large_payload_is_looked_at_without_keeping_anyone_waiting(place: Place) -> None:
    payload = b'{"blob": "' + b"x" * 24_000_000 + b'"}'
    letter = place.bury("waiting/large", payload)
    answers: list[tuple[int, dict[str, Any]]] = []

    def look() -> float:
        """Look at it, and return the longest that Flower's loop kept somebody else waiting meanwhile, in seconds."""
        longest_s, looking = 0.0, threading.Thread(target=lambda: answers.append(ask(place, path)))
        looking.start()
        while looking.is_alive():
            began = time.monotonic()
            urllib.request.urlopen(f"{place.url}/healthcheck", timeout=PATIENCE_S).close()
            longest_s = max(longest_s, time.monotonic() - began)
        looking.join()
        return longest_s

    path = f"/letter/{quote(letter)}"
    # The machine is busy at times, a defect is there each time.
    wait_until(lambda: look() < 1.5, message="nobody is kept waiting")
    status, shown = answers[0]
    assert (status, shown["payload"]["kind"], shown["payload"]["bytes"]) == (200, "json", len(payload))
    assert shown["payload"]["is_cut"] is True
    # Of the beginning alone: the rest of the message was not decoded.
    assert shown["mqtt"] is None
    assert payload.decode().startswith(shown["payload"]["text"])
    assert len(shown["payload"]["text"]) > 10_000

    url = f"{place.url}/api/dead-letters/letter/{quote(letter)}/payload"
    with urllib.request.urlopen(urllib.request.Request(url, headers=ANA), timeout=PATIENCE_S) as answer:
        assert answer.headers["Content-Length"] == str(len(payload))
        assert answer.read() == payload


def test_the_history_of_a_route_is_columns_with_a_number_for_each_step(place: Place) -> None:
    def history(query: str) -> tuple[int, dict[str, Any]]:
        return request(f"{place.url}/api/routes/history?route={quote(WAITING)}{query}", headers=ANA)

    with place.store.client() as client:
        now = float(client.time()[0])
        add_counts(client, place.keys, at=now - 7200)
        add_totals(client, place.keys, "received", {WAITING: 5})
        add_totals(client, place.keys, "dead", {WAITING: 2})
        add_counts(client, place.keys, at=now - 600)
        add_times(client, place.keys, {WAITING: ([0, 0, 0, 10], [0, 1])}, at=now - 600)
    for query, step_s, count in (
        ("", 60, 1440),
        ("&step=300", 300, 288),
        ("&span=month", 3600, 744),
        ("&span=month&step=86400", 86400, 31),
    ):
        status, found = history(query)
        assert (status, found["step_s"], found["until"] - found["from"]) == (200, step_s, step_s * count), found
        columns = [column for column in found.values() if isinstance(column, list)]
        assert [len(column) for column in columns] == [count] * 9
        sums = found["sums"]
        assert (sums["received"], sums["dead"], sums["done"], sums["wait_p95_s"]) == (5, 2, 0, 0.00243)
        assert 0.005 < sums["run_p50_s"] <= 0.01
        if step_s < 3600:
            assert found["received"].count(None) > count - 50
    for query in (
        "&span=week",
        "&step=61",
        "&step=",
        "&step=86400",
        "&spam=day",
        "&span=month&step=60",
        f"&step={quote('٦٠')}",
    ):
        status, found = history(query)
        assert (status, "cannot be used" in found["error"]) == (400, True), found
    for route in ("", quote("no such route"), quote("\ud800", errors="surrogatepass")):
        assert request(f"{place.url}/api/routes/history?route={route}", headers=ANA)[0] in (400, 404)


def test_what_waits_for_another_run_is_asked_for_in_words_that_are_known(place: Place) -> None:
    def retries(query: str) -> tuple[int, dict[str, Any]]:
        return request(f"{place.url}/api/routes/retries{query}", headers=ANA)

    status, found = retries(f"?route={quote(WAITING)}&kind=aside&limit=5")
    assert (status, found["messages"], found["later"], found["aside"], found["is_whole"]) == (200, [], 0, 0, True)
    for query in ("?kind=", "?kind=all", "?limit=0", "?limit=501", "?rout=a", "?route=a&route=b"):
        status, found = retries(query)
        assert (status, "cannot be used" in found["error"]) == (400, True), query
    assert request(f"{place.url}/api/routes/retries")[0] == 401


@pytest.mark.parametrize("letter", ["x", ":", "x:-1", "x:0~1", "x:" + "9" * 5000, "a/b:0", "\U0001f600:1"])
def test_an_address_of_no_letter_is_no_error_of_the_server(place: Place, letter: str) -> None:
    path = f"/letter/{quote(letter, safe='')}"
    assert ask(place, path)[0] == 404
    assert (ask(place, f"{path}/outcome")[1]["state"], ask(place, f"{path}/neighbours?at=5")[0]) == ("gone", 200)


def test_a_letter_is_there_for_its_outcome_only_where_it_can_be_shown(place: Place) -> None:
    letter = place.bury("waiting/half")
    path = f"/letter/{quote(letter)}"
    assert ask(place, f"{path}/outcome")[1]["state"] == "there"
    with place.store.client() as client:
        client.hdel(place.keys.dead_raw, letter)
    # Otherwise its page would load anew for ever, and lead to itself.
    assert ask(place, path)[1]["later"] is None
    assert ask(place, f"{path}/outcome")[1]["state"] == "gone"


def test_a_task_leads_to_the_page_of_its_letter_whatever_its_id_and_also_while_redis_refuses(place: Place) -> None:
    task = place.bury("waiting/of-task").rpartition(":")[0]
    with place.store.client() as client:
        for task_id in (task, "a/b", "../x", "?#"):
            for refuses in (False, True):
                if refuses:
                    client.rename(place.keys.dead_entries, f"{place.key_prefix}aside")
                    client.set(place.keys.dead_entries, "another program's")
                try:
                    asked = urllib.request.Request(
                        f"{place.url}/dead-letters/of-task/{quote(task_id, safe='')}", headers=ANA
                    )
                    with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
                        assert answer.url == f"{place.url}/dead-letters/{quote(f'{task_id}:0', safe='')}"
                finally:
                    if refuses:
                        client.rename(f"{place.key_prefix}aside", place.keys.dead_entries)


def test_of_a_message_that_has_not_died_it_is_told_where_it_is(place: Place) -> None:
    alive = TaskMessage(route=WAITING, queue="waiting", envelope=Envelope(topic="waiting/alive", payload=b"{}"))
    path = f"/letter/{alive.id}:0/outcome"
    place.hold(alive)
    assert ask(place, path)[1]["state"] == "taken"
    place.fail(alive, for_good=False)
    found = ask(place, path)[1]
    assert (found["state"], found["failures"], found["words"]) == ("retrying", 1, "it has not died")


def test_a_folded_chart_costs_redis_nothing(place: Place) -> None:
    place.bury("waiting/folded")
    with place.store.client() as client:
        calls = []
        for query in ("", "?bars=none"):
            client.config_resetstat()
            status, overview = ask(place, f"/overview{query}")
            assert status == 200
            assert (overview["bars"] is None) == bool(query)
            calls.append(client.info("commandstats")["cmdstat_zcount"]["calls"])
    assert calls[1] < calls[0] - 50
