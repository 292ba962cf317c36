"""Finding dead letters and acting on them."""

import itertools
import json
import string
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routemq.dead_letters import (
    ArchivedLetter,
    BrokenLineError,
    DeadLetter,
    DeadLetters,
    LetterFilter,
    Operation,
    ReplayOptions,
)
from routemq.dead_letters.fingerprint import OTHER
from routemq.dead_letters.fingerprint_limit import MOST_FINGERPRINTS
from routemq.dead_letters.redaction import Redaction
from routemq.dead_letters.replaying import ReplayPace, ReplayResult
from routemq.envelope import Envelope, TaskMessage, unacked_record
from routemq.errors import DeadLetterNotFoundError, NotReplayableError
from routemq.metrics.totals import read_totals
from routemq.queues import Keys
from tests.servers import Redis

ROUTES = {"sensors/{device_id}/data": "sensors.data", "alerts/{device_id}": "alerts"}
SENSORS, ALERTS = ROUTES


@pytest.fixture
def store(client: redis.Redis, keys: Keys) -> DeadLetters:
    return DeadLetters(client, keys)


def a_message(number: int = 0, route: str = SENSORS, **changes: object) -> TaskMessage:
    topic = route.format(device_id=f"d{number}")
    message = TaskMessage(
        id=f"m{number:06}", route=route, queue=ROUTES[route],
        envelope=Envelope(topic=topic, payload=f'{{"number": {number}}}'.encode()),
    )  # fmt: skip
    return replace(message, **changes)  # type: ignore[arg-type]


def bury(store: DeadLetters, *messages: TaskMessage, error: Exception | None = None, reason: str = "failed") -> None:
    letters = [
        (DeadLetter.of(message, reason=reason, error=error or ValueError("no"), worker="w"), message.encode())  # type: ignore[arg-type]
        for message in messages
    ]
    store.bury_direct(letters)


def import_letters(store: DeadLetters, letters: Sequence[ArchivedLetter], digest: str = "file") -> None:
    store.import_batch(letters, Operation(actor="test"), file_digest=digest, lines_before=0)
    store.import_ended(digest)


def queued(client: redis.Redis, keys: Keys, queue: str) -> list[TaskMessage]:
    items = cast("list[bytes]", client.lrange(keys.queue(queue), 0, -1))
    return [TaskMessage.decode(item) for item in reversed(items)]


def ids_of(pages: Sequence[DeadLetter]) -> list[str]:
    return [letter.id for letter in pages]


def all_pages(store: DeadLetters, wanted: LetterFilter, limit: int) -> list[str]:
    after, found = None, []
    while True:
        page = store.page(wanted, limit=limit, after=after)
        found += ids_of(page.letters)
        after = page.next
        if after is None:
            return found


def counted_in_parts(store: DeadLetters, wanted: LetterFilter) -> int:
    count, after = 0, None
    while True:
        tally = store.tally(wanted, after=after, scan_limit=2)
        assert wanted.is_indexed or tally.scanned <= 2
        count, after = count + tally.count, tally.next
        if after is None:
            return count


def test_filters_find_what_they_say(store: DeadLetters) -> None:
    bury(store, *(a_message(number) for number in range(4)))
    bury(store, a_message(7), error=KeyError("level"), reason="rejected")
    bury(store, a_message(9, ALERTS), reason="rejected")
    everything = ["m000009:0", "m000007:0", "m000003:0", "m000002:0", "m000001:0", "m000000:0"]
    fingerprint = store.get("m000007:0").letter.fingerprint
    expected = {
        LetterFilter(): everything,
        LetterFilter(route=ALERTS): ["m000009:0"],
        LetterFilter(route="none"): [],
        LetterFilter(reason="rejected"): ["m000009:0", "m000007:0"],
        LetterFilter(reason="rejected", route=SENSORS): ["m000007:0"],
        LetterFilter(reason="failed", error=fingerprint): [],
        LetterFilter(error=fingerprint): ["m000007:0"],
        LetterFilter(error="keyerror"): ["m000007:0"],
        LetterFilter(queue="alerts"): ["m000009:0"],
        LetterFilter(topic="sensors/+/data", reason="rejected"): ["m000007:0"],
        LetterFilter(topic="alerts/#"): ["m000009:0"],
        LetterFilter(device="d2"): ["m000002:0"],
        LetterFilter(contains='"NUMBER": 3'): ["m000003:0"],
        LetterFilter(contains="numBER"): everything,
        LetterFilter(contains="no number"): [],
        LetterFilter(until=1.0): [],
        LetterFilter(since=time.time() - 60): everything,
    }
    for wanted, ids in expected.items():
        assert all_pages(store, wanted, 2) == ids, str(wanted)
        assert [letter.id for letter in store.letters(wanted, oldest_first=True)] == ids[::-1], str(wanted)
        assert store.count(wanted) == len(ids), str(wanted)
        assert sum(bucket.count for bucket in store.histogram(wanted, buckets=7, until=time.time() + 9)) == len(ids)
        assert counted_in_parts(store, wanted) == len(ids), str(wanted)
        assert set(ids) <= set(all_pages(store, wanted.indexed_part, 9)), str(wanted)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_pages_show_each_letter_once_in_order_whatever_the_times(valkey_server: Redis, data: st.DataObject) -> None:
    times = data.draw(st.lists(st.tuples(st.sampled_from([1.0, 1.000001, 2.5, 3.0]), st.sampled_from(list(ROUTES)))))
    limit = data.draw(st.integers(1, 7))
    with valkey_server.client() as client:
        store = DeadLetters(client, Keys(f"h{uuid.uuid4().hex}:"))
        letters = []
        for number, (died_at, route) in enumerate(times):
            message = a_message(number, route)
            letter = DeadLetter.of(message, reason="failed", error=ValueError(), worker="w")
            letters.append(ArchivedLetter(replace(letter, died_at=died_at), message.encode()))
        import_letters(store, letters)
        order = sorted((archived.letter.died_at, archived.letter.id) for archived in letters)
        expected = [letter_id for _, letter_id in reversed(order)]
        assert all_pages(store, LetterFilter(), limit) == expected
        assert [letter.id for letter in store.letters(oldest_first=True)] == expected[::-1]


def test_page_goes_on_beyond_thousands_of_one_time_after_its_letter_is_gone(store: DeadLetters) -> None:
    letters = []
    for number in range(2500):
        message = a_message(number)
        letter = DeadLetter.of(message, reason="failed", error=ValueError(), worker="w")
        letters.append(ArchivedLetter(replace(letter, died_at=5.0), message.encode()))
    import_letters(store, letters)
    first = store.page(limit=1200)
    assert first.next is not None
    store.discard([first.letters[-1].id], actor="test")
    assert store.page(limit=1, after=first.next).letters[0].id == "m001299:0"
    with pytest.raises(DeadLetterNotFoundError):
        store.page(after=first.letters[-1].id)


def test_bounded_scan_says_where_to_go_on(store: DeadLetters) -> None:
    bury(store, *(a_message(number) for number in range(30)))
    page = store.page(LetterFilter(device="d0"), scan_limit=20)
    assert (page.letters, page.scanned) == ((), 20)
    page = store.page(LetterFilter(device="d0"), scan_limit=20, after=page.next)
    assert (ids_of(page.letters), page.next) == (["m000000:0"], None)


def test_letter_opens_with_everything(store: DeadLetters, client: redis.Redis, keys: Keys) -> None:
    message = a_message()
    try:
        int("x")
    except ValueError as exc:
        bury(store, message, error=exc)
    found = store.get("m000000:0")
    assert found.raw == message.encode()
    assert found.payload == b'{"number": 0}'
    assert "in test_letter_opens_with_everything" in found.letter.traceback
    assert [attempt.error for attempt in found.attempts] == [found.letter.error]
    with pytest.raises(DeadLetterNotFoundError):
        store.get("none:0")


def test_replay_runs_the_next_generation_and_leaves_no_trace_of_the_letter(
    store: DeadLetters, client: redis.Redis, keys: Keys
) -> None:
    bury(store, a_message(1), a_message(2))
    result = store.replay(["m000001:0", "none:0"], actor="ana", edits={"m000001:0": b"mended"})
    assert (result.replayed, result.gone, result.refused) == (("m000001:0",), ("none:0",), {})
    (message,) = queued(client, keys, "sensors.data")
    assert (message.id, message.generation, message.retries, message.envelope.payload) == ("m000001", 1, 0, b"mended")
    assert [(replay.by, replay.error) for replay in message.replays] == [("ana", "ValueError: no")]
    assert ids_of(store.page().letters) == ["m000002:0"]
    assert read_totals(client, keys)[SENSORS].replayed == 1
    assert store.discard(["m000002:0", "none:0"], actor="ana", for_good=True) == ("m000002:0",)
    assert store.stats().total == 0
    left = {key.decode().removeprefix(f"{keys.prefix}routemq:") for key in client.scan_iter(f"{keys.prefix}routemq:*")}
    # What becomes of the replayed message is not known yet.
    watched = "dlq:canaries"
    assert left == {
        "counters:" + SENSORS,
        "counted-routes",
        "dlq:counters:" + SENSORS,
        "dlq:routes",
        "dlq:audit",
        watched,
    }
    assert [(entry.action, entry.count, entry.who) for entry in store.audit()] == [
        ("discard", 1, "ana"),
        ("replay", 1, "ana"),
    ]


def test_what_cannot_be_replayed_stays(store: DeadLetters, client: redis.Redis, keys: Keys) -> None:
    bury(store, a_message(1, generation=3))
    malformed = DeadLetter.bare(route=SENSORS, queue="q", message_id="bad", error=ValueError(), worker="w")
    store.bury_direct([(malformed, b"\xffnot JSON")])
    result = store.replay(["m000001:3", "bad:0"], actor="ana")
    assert not result.replayed
    assert {name: type(exc) for name, exc in result.refused.items()} == {
        "m000001:3": NotReplayableError,
        "bad:0": NotReplayableError,
    }
    assert store.count() == 2
    assert store.replay(["m000001:3"], actor="ana", force=True, to_queue="other").replayed
    assert queued(client, keys, "other")[0].generation == 4


def test_a_set_that_is_frozen_by_half_is_none(store: DeadLetters, client: redis.Redis, keys: Keys) -> None:
    def ids() -> Iterator[str]:
        yield from map(str, range(6000))
        assert list(client.scan_iter(f"{keys.prefix}*"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.frozen.begin(ids(), Operation(actor="ana"), ReplayOptions(), now=1.0)
    assert store.unfinished_replays() == ()
    assert not list(client.scan_iter(f"{keys.prefix}*"))


def test_two_operators_replay_the_same_set_once(redis_store: Redis, keys: Keys) -> None:
    with redis_store.client() as client:
        store = DeadLetters(client, keys)
        bury(store, *(a_message(number) for number in range(10_000)))

    def replay_all() -> None:
        with redis_store.client() as client:
            store = DeadLetters(client, keys)
            frozen = store.freeze(LetterFilter(route=SENSORS), actor="one of two")
            while store.replay_step(frozen) is not None:
                pass

    operators = [threading.Thread(target=replay_all) for _ in range(2)]
    for operator in operators:
        operator.start()
    for operator in operators:
        operator.join()
    with redis_store.client() as client:
        counts = Counter(message.id for message in queued(client, keys, "sensors.data"))
        assert len(counts) == 10_000
        assert set(counts.values()) == {1}
        assert sum(entry.count for entry in DeadLetters(client, keys).audit()) == 10_000


def test_frozen_replay_is_taken_up_by_another_process_and_catches_nothing_new(
    store: DeadLetters, client: redis.Redis, keys: Keys
) -> None:
    bury(store, *(a_message(number) for number in range(20)))
    begun = store.freeze(LetterFilter(), actor="ana", options=ReplayOptions(to_queue="other"))
    store.discard(["m000003:0"], actor="bo")
    bury(store, a_message(99), a_message(0, generation=1))
    store.replay_step(begun, limit=5)

    other = DeadLetters(client, keys)
    (found,) = other.unfinished_replays()
    assert (found.replayed, found.gone, found.remaining, found.operation.actor) == (4, 1, 15, "ana")
    while other.replay_step(found, limit=10) is not None:
        pass
    assert other.unfinished_replays() == ()
    assert [message.id for message in queued(client, keys, "other")] == [f"m{n:06}" for n in range(20) if n != 3]
    assert sorted(ids_of(store.page().letters)) == ["m000000:1", "m000099:0"]


def test_step_that_another_process_took_is_not_counted_twice(store: DeadLetters) -> None:
    bury(store, *(a_message(number) for number in range(4)))
    begun = store.freeze(LetterFilter(), actor="ana")
    store.replay_step(begun, limit=2)
    # As if this process had read the head of the list before the other one moved it.
    assert store._changes.replay(["m000000:0", "m000001:0"], begun.operation, begun.options, {}, frozen=True) is None
    assert store.unfinished_replay(begun.id).replayed == 2
    assert store.unfinished_replay(begun.id).gone == 0


def test_a_rate_is_that_of_all_who_are_at_a_replay(store: DeadLetters, client: redis.Redis, keys: Keys) -> None:
    bury(store, *(a_message(number) for number in range(8)))
    slow, quick = ReplayPace(rate=1 / 3600), ReplayPace(rate=1000)
    begun = store.freeze(LetterFilter(), actor="ana", pace=slow)
    assert store.replay_step(begun, limit=1, pace=slow) == ReplayResult(
        replayed=("m000000:0",), queues=frozenset({"sensors.data"})
    )
    # Whoever asks next, and however he came to it.
    other = DeadLetters(client, keys)
    early = other.replay_step(begun, limit=1, pace=slow)
    assert early
    assert not early.replayed
    assert 3000 < early.wait_s <= 3600
    assert other._changes.replay(["m000001:0"], begun.operation, begun.options, {}, frozen=True, each_s=3600) is None
    assert len(queued(client, keys, "sensors.data")) == 1

    # Who is in more of a hurry need not wait for it; nor for what a clock that was ahead, or a hand, has written.
    for number, written in enumerate((None, b"99999999999", b"soon", b"inf", b"nan"), 1):
        if written:
            client.hset(keys.dead_frozen(begun.id), "next_at", written)
        done = store.replay_step(begun, limit=1, pace=quick if written is None else slow)
        assert done
        assert done.replayed == (f"m{number:06}:0",)
    # Of two steps that follow each other at once the times add up.
    client.hset(keys.dead_frozen(begun.id), "next_at", store.now() - 0.1)
    before = store.now()
    assert store.replay_step(begun, limit=1, pace=ReplayPace(rate=0.01))
    assert float(client.hget(keys.dead_frozen(begun.id), "next_at") or 0) >= before - 0.2 + 100


def test_stats_and_full_routes(client: redis.Redis, keys: Keys) -> None:
    store = DeadLetters(client, keys, max_entries=3)
    bury(store, *(a_message(number) for number in range(3)))
    bury(store, a_message(9, ALERTS), error=KeyError("level"), reason="rejected")
    stats = store.stats(most_errors=1)
    assert (stats.total, stats.error_count) == (4, 2)
    assert [(group.name, group.count) for group in stats.routes] == [(SENSORS, 3), (ALERTS, 1)]
    assert [(group.name, group.count) for group in stats.reasons] == [("failed", 3), ("rejected", 1)]
    assert [(error.count, error.routes, error.example.id) for error in stats.errors] == [(3, (SENSORS,), "m000002:0")]
    of_reason = store.stats(LetterFilter(reason="rejected"), most_errors=1)
    assert (of_reason.total, of_reason.error_count, [error.count for error in of_reason.errors]) == (1, 1, [1])
    assert stats.full_routes == store.full_routes() == {SENSORS: "sensors.data"}
    without_limit = DeadLetters(client, keys)
    bury(without_limit, a_message(3))
    without_limit.discard(["m000001:0"], actor="ana")
    assert store.full_routes() == {SENSORS: "sensors.data"}
    without_limit.discard(["m000002:0"], actor="ana")
    assert store.full_routes() == {}


def test_archive_brings_everything_back(client: redis.Redis, keys: Keys, store: DeadLetters) -> None:
    bury(store, a_message(1))
    malformed = DeadLetter.bare(route=SENSORS, queue="q", message_id="bad", error=ValueError("x"), worker="w")
    store.bury_direct([(malformed, b"\xff\x00not JSON")])
    before = [store.get(letter.id) for letter in store.page().letters]
    lines = [archived.to_line() for archived in store.archived(store.page().letters)]
    store.discard([opened.letter.id for opened in before], actor="ana")
    assert store.count() == 0

    letters = [ArchivedLetter.from_line(line, source="f", number=1) for line in lines]
    operation = Operation(actor="ana")
    assert store.import_batch(letters, operation, file_digest="f", lines_before=0) == 2
    assert store.import_batch(letters, operation, file_digest="f", lines_before=0) is None
    assert store.imported_lines("f") == 2
    store.import_ended("f")
    assert store.import_batch(letters, operation, file_digest="f", lines_before=0) == 0
    assert [store.get(opened.letter.id) for opened in before] == before
    with pytest.raises(BrokenLineError, match="f, line 73: it ends too early"):
        ArchivedLetter.from_line(lines[0][:-9], source="f", number=73)


def test_a_route_has_only_so_many_fingerprints(client: redis.Redis, keys: Keys) -> None:
    words = ["".join(pair) for pair in itertools.product(string.ascii_lowercase, repeat=2)]

    def letters(route: str) -> list[tuple[DeadLetter, bytes]]:
        messages = [a_message(number, route=route) for number in range(len(words))]
        return [
            (
                DeadLetter.of(message, reason="failed", error=ValueError(f"no {word} {word}"), worker="w"),
                message.encode(),
            )
            for message, word in zip(messages, words, strict=True)
        ]

    # In one batch, one by one, and from a file; several processes meet the same errors.
    stores = [DeadLetters(client, keys) for _ in range(3)]
    stores[0].bury_direct(letters(SENSORS))
    for number, (letter, item) in enumerate(letters(ALERTS)):
        letter = replace(letter, id=f"a{number}:0")  # noqa: PLW2901
        client.hset(keys.unacked, letter.id, unacked_record(item, "alerts"))
        assert stores[number % 3].bury(letter, delivery_tag=letter.id)
    copies = [replace(letter, id=f"c{letter.id}", route="copies") for letter, _ in letters(SENSORS)]
    import_letters(stores[2], [ArchivedLetter(replace(letter, died_at=1.79e9), b"x") for letter in copies])
    for route in (SENSORS, ALERTS, "copies"):
        kinds = [name for name in client.hkeys(keys.dead_counters(route)) if name.startswith(b"error:")]
        assert 150 < len(kinds) <= MOST_FINGERPRINTS + 21
        assert stores[0].count(LetterFilter(route=route, error=OTHER)) == len(words) + 1 - len(kinds)
    top = stores[0].stats(most_errors=3).errors
    assert [(error.name, error.is_rest) for error in top] == [(OTHER, True)] * 3
    # What is there is still told apart; room that was made is used.
    (first, _), *_ = letters(SENSORS)
    assert stores[0].count(LetterFilter(route=SENSORS, error=first.fingerprint)) == 1
    stores[0].discard([letter.id for letter in stores[0].letters(LetterFilter(route=SENSORS))], actor="test")
    stores[0].bury_direct(letters(SENSORS)[-1:])
    assert stores[0].count(LetterFilter(route=SENSORS, error=OTHER)) == 0


def test_redacted_values_are_kept_nowhere(client: redis.Redis, keys: Keys) -> None:
    def hook(topic: str, payload: bytes) -> bytes:
        if topic.endswith("bad"):
            raise RuntimeError(topic)
        return payload.replace(b"Mustermann", b"M.")

    store = DeadLetters(client, keys, redaction=Redaction(fields=frozenset({"password"}), hook=hook))
    secret = b'{"user": [{"Password": "s3cr3t-x", "name": "Mustermann"}], "n": 1.0}'
    message = a_message(1, envelope=Envelope(topic="sensors/d1/data", payload=secret))
    letter = DeadLetter.of(message, reason="failed", error=ValueError("bad login s3cr3t-x"), worker="w")
    client.hset(keys.unacked, "tag", unacked_record(message.encode(), message.queue))
    assert store.bury(letter, delivery_tag="tag")
    found = store.get("m000001:0")
    assert found.payload == b'{"user": [{"Password": "[redacted]", "name": "M."}], "n": 1.0}'
    assert found.letter.redacted == ("Password",)
    assert not any(
        b"s3cr3t" in value
        for key in client.scan_iter(f"{keys.prefix}routemq:dlq:*")
        if client.type(key) == b"hash"
        for value in cast("list[bytes]", client.hvals(key))
    )
    assert list(store.replay(["m000001:0"], actor="ana").refused) == ["m000001:0"]
    assert store.replay(["m000001:0"], actor="ana", edits={"m000001:0": secret}).replayed

    bury(store, a_message(2, envelope=Envelope(topic="sensors/bad", payload=secret)))
    assert "DLQ_REDACT_HOOK raised RuntimeError" in json.loads(store.get("m000002:0").payload)["redacted"]


def test_a_letter_tells_the_release_that_gave_it_up_and_a_group_the_first(client: redis.Redis, keys: Keys) -> None:
    for number, release in enumerate([None, "1.0 \ud800", "1.1"]):
        bury(DeadLetters(client, keys, release=release), a_message(number))
    store = DeadLetters(client, keys)
    assert [letter.release for letter in store.letters(oldest_first=True)] == [None, "1.0 ?", "1.1"]
    (group,) = store.stats().errors
    assert (group.count, group.first_release, group.example.release) == (3, None, "1.1")
    store.discard(["m000000:0"], actor="ana")
    assert store.stats().errors[0].first_release == "1.0 ?"
    # It outlives a file, and the bin.
    store.discard(["m000001:0"], actor="ana", operation=Operation(actor="ana", id="one"))
    list(store.undo("one", actor="ana"))
    assert store.get("m000001:0").letter.release == "1.0 ?"
