"""Nothing that a message contains may stop a worker."""

import base64
import json
import pickle
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from routemq.envelope import Envelope, TaskMessage
from tests.processes import wait_until
from tests.servers import Redis
from tests.workers import Bench

Change = Callable[[dict[str, Any]], object]


def _header(name: str, value: object) -> Change:
    return lambda item: item["headers"].__setitem__(name, value)


def _without_header(name: str) -> Change:
    return lambda item: item["headers"].pop(name)


def _body(text: bytes | str, **kind: str) -> Change:
    data = text.encode() if isinstance(text, str) else text
    changes = {"body": base64.b64encode(data).decode()} | {key.replace("_", "-"): kind[key] for key in kind}
    return lambda item: item.update(changes)


def _argument(**changes: object) -> Change:
    def change(item: dict[str, Any]) -> None:
        (argument,), _, embed = orjson.loads(base64.b64decode(item["body"]))
        body = orjson.dumps([[argument | changes], {}, embed])
        item["body"] = base64.b64encode(body).decode()

    return change


BROKEN: dict[str, Change] = {
    "no id": _without_header("id"),
    "an id that is a number": _header("id", 7),
    "an empty id": _header("id", ""),
    "no task": _without_header("task"),
    "a task that is a list": _header("task", ["raw"]),
    "a body that is a number": _body("7"),
    "a body of two": _body("[1, 2]"),
    "a body of three wrong ones": _body("[1, 2, 3]"),
    "keywords that are a list": _body("[[{}], [], {}]"),
    "two arguments": _body("[[{}, {}], {}, {}]"),
    "a keyword argument": _body('[[], {"a": 1}, {}]'),
    "a body that is no JSON": _body("{nonsense"),
    "no body": lambda item: item.__setitem__("body", ""),
    "a very deep body": _body("[" * 100_000),
    "a very long number": _body("[[" + "7" * 1_000_000 + "], {}, {}]"),
    "pickle": _body(
        pickle.dumps([1]), **{"content-type": "application/x-python-serialize", "content-encoding": "binary"}
    ),
    "yaml": _body("a: b", **{"content-type": "application/x-yaml"}),
    "no content type": lambda item: item.pop("content-type"),
    "another encoding": lambda item: item.__setitem__("content-encoding", "utf-16"),
    "unknown compression": _header("compression", "zippy"),
    "a body that is not compressed": _header("compression", "application/x-gzip"),
    "an envelope of tomorrow": _argument(v=99),
    "an envelope with a topic that is a number": _argument(topic=7),
    "an envelope with a payload that is a list": _argument(payload=[]),
    "an envelope with half a character": _argument(payload_base64="=="),
    "an eta that is no time": _header("eta", "soon"),
    "an expiry that is no time": _header("expires", [1]),
    "limits that are a word": _header("timelimit", "abc"),
    "limits that are words": _header("timelimit", ["a", "b"]),
    "retries that are a word": _header("retries", "x"),
    "an own header that is a list": _header("routemq", [1]),
    "a generation that is a word": _header("routemq", {"generation": "x"}),
    "failures that are numbers": _header("routemq", {"failures": [1]}),
    "an id of half a character": _header("id", "\ud800"),
    "a number of retries that is too large to be written": _header("retries", 10**30),
    "a generation that is too large to be written": _header("routemq", {"generation": 10**30}),
}


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


def _message(topic: str = "raw/broken") -> dict[str, Any]:
    message = TaskMessage(route="raw/{rest:path}", queue="work.raw", envelope=Envelope(topic=topic, payload=b"x"))
    item: dict[str, Any] = json.loads(message.encode())
    return item


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_message_that_cannot_be_run_is_dead_with_its_bytes(bench: Bench, pool: str) -> None:
    # What another release may run is kept for it, if not for long.
    env = {"ROUTEMQ_UNKNOWN_ROUTE_WAIT_S": "1"}
    with bench.worker("-Q", "work.raw", "-P", pool, "-c", "2", env=env) as worker:
        items = {}
        for name, change in BROKEN.items():
            item = _message()
            change(item)
            # Found again by a field that no one reads.
            item["properties"]["was"] = name
            items[name] = item
            # What only Python's own parser reads is written by it too.
            bench.put_raw("work.raw", json.dumps(item).encode())
        unknown, builtin = _message("elsewhere/x"), _message()
        unknown["headers"]["task"] = "no/such/route"
        builtin["headers"]["task"] = "celery.accumulate"
        bench.put_raw("work.raw", orjson.dumps(unknown))
        bench.put_raw("work.raw", orjson.dumps(builtin))
        good = bench.put("raw/good", b"x")
        letters = bench.wait_for_letters(len(BROKEN) + 2)
        (note,) = bench.wait_for_notes("raw", 1)
        wait_until(lambda: bench.held() == 0, message="nothing is held")

        assert note["id"] == good.id
        unroutable, celerys = letters.pop(unknown["headers"]["id"]), letters.pop(builtin["headers"]["id"])
        found = {json.loads(letter.raw)["properties"]["was"]: letter for letter in letters.values()}
        assert {name: letter.reason for name, letter in found.items()} == dict.fromkeys(BROKEN, "malformed")
        # Kombu's own transport writes the record again, so the bytes may differ in their white space.
        assert {name: json.loads(letter.raw)["body"] for name, letter in found.items()} == {
            name: item["body"] for name, item in items.items()
        }
        assert all(letter.description["message"] for letter in found.values())
        assert unroutable.reason == celerys.reason == "unroutable"
        assert (unroutable.description["route"], unroutable.description["topic"]) == ("no/such/route", "elsewhere/x")
        assert worker.terminate() == 0
        assert "Traceback" not in worker.output()
        assert "nonsense" not in worker.output()


def test_what_a_message_asks_of_celery_is_not_done(bench: Bench) -> None:
    """A message is data: it can neither start other tasks nor send itself to a queue that no worker consumes."""
    with bench.worker("-Q", "work", "-P", "threads"):
        chained = _message("raw/chained")
        again = {"task": "raw/{rest:path}", "args": [{}], "kwargs": {}, "options": {}, "subtask_type": None}
        (argument,), _, _ = orjson.loads(base64.b64decode(chained["body"]))
        body = orjson.dumps(
            [[argument], {}, {"callbacks": [again], "errbacks": [again], "chain": [again], "chord": None}]
        )
        chained["body"] = base64.b64encode(body).decode()
        bench.put_raw("work.raw", orjson.dumps(chained))
        astray = TaskMessage(route="act/{kind}", queue="nowhere", envelope=Envelope(topic="act/value", payload=b"x"))
        bench.put_raw("work.act", astray.encode())
        letter = bench.wait_for_letters(1)[astray.id]
        notes = bench.wait_for_notes("raw", 1)

    assert (letter.reason, letter.description["attempts"], letter.description["queue"]) == ("failed", 3, "work.act")
    assert [note["topic"] for note in notes] == ["raw/chained"]


UNREADABLE: dict[str, bytes] = {
    "no JSON": b"{nonsense \xff",
    "a number": b"7",
    "a list": b"[]",
    "nothing": b"",
    "no properties": b'{"body": "e30="}',
    "properties that are a list": b'{"body": "e30=", "properties": []}',
    "no tag": b'{"body": "e30=", "properties": {}}',
    "a typed value without a value": b'{"__type__": "x"}',
    "very deep": b"[" * 100_000,
}
"""What is no message of kombu's at all."""


@pytest.mark.parametrize("transport", ["routemq", "stock"])
@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_what_kombu_cannot_read_ends_no_worker(bench: Bench, pool: str, transport: str) -> None:
    changes: dict[str, Change] = {
        "an unknown encoding": lambda item: item["properties"].__setitem__("body_encoding", "rot13"),
        "headers that are a list": lambda item: item.__setitem__("headers", [1]),
    }
    if transport == "stock":
        # Ours knows where it took it from.
        changes["a delivery that is a list"] = lambda item: item["properties"].__setitem__("delivery_info", [1])
    with bench.worker("-Q", "work.raw", "-P", pool, "-c", "2", env={"ROUTEMQ_TRANSPORT": transport}) as worker:
        sent = list(UNREADABLE.values())
        for change in changes.values():
            item = _message()
            change(item)
            sent.append(json.dumps(item).encode())
        for raw in sent:
            bench.put_raw("work.raw", raw)
        good = bench.put("raw/good", b"x")
        letters = bench.wait_for_letters(1)
        wait_until(lambda: len(_all_letters(bench)) >= len(sent), message="all are dead")
        (note,) = bench.wait_for_notes("raw", 1)
        assert note["id"] == good.id
        wait_until(lambda: bench.held() == 0, message="nothing is held")
        assert worker.terminate() == 0
        assert "Unrecoverable" not in worker.output()
    assert {letter.reason for letter in letters.values()} == {"malformed"}
    if transport == "routemq":
        assert sorted(_all_letters(bench)) == sorted(sent)


def _all_letters(bench: Bench) -> list[bytes]:
    with bench.store.client() as client:
        found: list[bytes] = client.hvals(bench.keys.dead_raw)
    return found
