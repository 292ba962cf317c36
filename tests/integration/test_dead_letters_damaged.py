"""What a hand, or another release, has written where the description of a letter should be stops no other letter."""

import json

import pytest
from routemq_flower.operations import Operations

from routemq import Router
from routemq.dead_letters import DeadLetter, LetterFilter, Operation, ReplayOptions
from routemq.dead_letters.letter import DamagedLetterError
from routemq.dead_letters.strange_routes import StrangeRoutes
from tests.desk import ROUTE, Desk, a_message
from tests.processes import wait_until

GOOD = {"route": ROUTE, "queue": "q", "reason": "failed", "exception": "E", "fingerprint": "0123456789ab"}

DAMAGED = {
    "cut": b'{"route": "sen',
    "no UTF-8": b"\xff\xfe",
    "a list": b"[]",
    "null": b"null",
    "without a route": json.dumps({**GOOD, "route": None}).encode(),
    "a number for a queue": json.dumps({**GOOD, "queue": 7}).encode(),
    "a list for a fingerprint": json.dumps({**GOOD, "fingerprint": ["a"]}).encode(),
    "an object for a traceback": json.dumps({**GOOD, "traceback": {}}).encode(),
    "null for a traceback": json.dumps({**GOOD, "traceback": None}).encode(),
    "nested too deep": b"[" * 5000 + b"]" * 5000,
}
"""What neither we nor the scripts can use."""

ODD = {
    "words for a number": json.dumps({**GOOD, "attempts": "three"}).encode(),
    "true for a time": json.dumps({**GOOD, "first_at": True}).encode(),
    "a number for fields": json.dumps({**GOOD, "redacted": 7}).encode(),
    "a list for a release": json.dumps({**GOOD, "release": [1]}).encode(),
}


@pytest.mark.parametrize("name", [*DAMAGED, *ODD])
def test_a_description_that_is_none_is_told_and_read_all_the_same(name: str) -> None:
    description = (DAMAGED | ODD)[name]
    with pytest.raises(DamagedLetterError, match="the description of the dead letter 'a:0' cannot be read: "):
        DeadLetter.from_description("a:0", description, died_at=1.0)
    letter = DeadLetter.read("a:0", description, died_at=1.0)
    assert (letter.id, letter.died_at) == ("a:0", 1.0)
    assert letter.damage
    assert letter.damage in letter.error


def test_a_letter_that_cannot_be_read_keeps_no_other_from_anything(desk: Desk) -> None:
    count = len(DAMAGED)
    messages = [a_message(number) for number in range(count + 6)]
    desk.bury(*messages)
    ids = [letter.id for letter in desk.store.letters(oldest_first=True)]
    bad, good = ids[:count], ids[count:]
    kept = dict(zip(ids, desk.client.hmget(desk.keys.dead_entries, ids), strict=True))
    desk.client.hset(desk.keys.dead_entries, mapping=dict(zip(bad, DAMAGED.values(), strict=True)))

    # All are shown, in their places, by what the indexes know; what reads them one by one passes them over.
    assert len(desk.run("list", "--json", "--route", ROUTE).stdout.splitlines()) == count + 6
    assert [letter.id for letter in desk.store.letters(LetterFilter(device="d12"))] == ["m000012:0"]
    assert f"{count + 6} dead letters" in desk.run("stats").stdout
    desk.run("stats", "--topic", "sensors/+/data")
    assert "cannot be read" in desk.run("show", bad[0]).stdout
    assert desk.store.position_of(bad[0]).died_at == desk.client.zscore(desk.keys.dead_by_time(ROUTE), bad[0])

    # A message of the same id dies.
    desk.bury(a_message(0, b"another"))
    desk.store.discard(["m000000:0~2"], actor="ana", for_good=True)

    assert f"{count} stay where they are" in desk.run("replay", "--all", "--yes", exit_code=1).stderr
    assert len(desk.queued()) == 6
    assert [letter.id for letter in desk.store.letters(oldest_first=True)] == bad

    desk.bury(*messages[count:])
    exported = desk.run("export", "-")
    assert len(exported.stdout.splitlines()) == 6
    assert f"'{bad[0]}' cannot be read: no JSON" in exported.stderr
    done = desk.run("discard", "--route", ROUTE, "--yes", exit_code=1)
    assert "Discarded 6 letters." in done.stdout
    assert done.stderr.count("Left as it is: ") == count
    assert "cannot be read" in desk.run("discard", bad[1], exit_code=1).stderr
    assert desk.run("replay", bad[1], exit_code=1).stderr.count("cannot be read") == 1

    # In the bin it stays behind, and keeps no other there.
    (binned,) = desk.store.bin.all()
    desk.client.hset(desk.keys.dead_bin(binned.operation.id), f"letter:{good[0]}", "1.5\n{\nx")
    desk.run("undo", binned.operation.id)
    assert desk.store.gone(good) == good[:1]

    operations = Operations(desk.store, StrangeRoutes(router=Router(), wait_s=600))
    progress = operations.start("discard", LetterFilter(route=ROUTE), actor="ana", options=ReplayOptions())
    wait_until(lambda: progress.state != "running")
    assert (progress.state, progress.done, progress.gone, progress.refused) == ("done", 5, 0, count)
    assert "cannot be read" in progress.refusals[0]

    # Mended, it is a letter like any other.
    desk.client.hset(desk.keys.dead_entries, mapping={name: kept[name] for name in bad})
    assert f"Discarded {count} letters." in desk.run("discard", "--all", "--yes").stdout
    assert desk.client.hkeys(desk.keys.dead_entries) == []


def test_a_time_of_death_without_end_hides_no_letter_and_is_exported(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.bury(*map(a_message, range(3)))
    desk.client.zadd(desk.keys.dead_by_time(ROUTE), {"m000000:0": "-inf", "m000001:0": "inf"})
    assert len(desk.run("list").stdout.splitlines()) > 3
    assert "3 dead letters" in desk.run("stats").stdout
    desk.run("stats", "--topic", "sensors/+/data")
    desk.run("show", "m000001:0")
    desk.run("export", "letters")
    desk.run("discard", *(f"m00000{number}:0" for number in range(3)))
    assert "Imported 3 letters" in desk.run("import", "letters").stdout


def test_what_a_hand_has_written_of_changes_hides_no_other_change(redis_desk: Desk) -> None:
    desk, keys = redis_desk, redis_desk.keys
    desk.bury(*(a_message(number) for number in range(4)))
    damaged, whole = (desk.store.freeze([f"m{number:06}:0"], actor="ana") for number in (0, 1))
    operations = [Operation(actor="ana", id=name) for name in ("first", "second")]
    for number, operation in enumerate(operations, 2):
        desk.store.discard([f"m{number:06}:0"], actor="ana", operation=operation)
    for field, value in {
        "total": "many",
        "rate": "fast",
        "started_at": b"\xff",
        "canaries": "[1",
        "to_queue": "a,b",
    }.items():
        good = desk.client.hget(keys.dead_frozen(damaged.id), field)
        desk.client.hset(keys.dead_frozen(damaged.id), field, value)
        assert [found.id for found in desk.store.unfinished_replays()] == [whole.id], field
        told = desk.run("replay", "--resume", damaged.id, exit_code=1).stderr
        assert f"the Redis key {keys.dead_frozen(damaged.id)!r} cannot be read" in told
        desk.client.hset(keys.dead_frozen(damaged.id), field, good or "")
    desk.client.hdel(keys.dead_frozen(damaged.id), "actor")
    assert whole.id in desk.run("replay", "--resume", "list").stdout

    desk.client.hset(keys.dead_bin("first"), "letters", "some")
    assert [discard.operation.id for discard in desk.store.bin.all()] == ["second"]
    assert "second" in desk.run("bin").stdout

    desk.client.xadd(keys.dead_audit, {"who": b"\xff", "count": "many"})
    assert [entry.count for entry in desk.store.audit()] == [0, 1, 1]
    desk.run("audit")
