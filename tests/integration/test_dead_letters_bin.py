"""What was discarded can be brought back, byte for byte, for as long and as far as there is room."""

import contextlib
import re

import pytest

from routemq.dead_letters import NotInBinError, Operation
from routemq.dead_letters.changes import LetterChanges
from routemq.lifecycle.moves import BinRoom
from tests.desk import ROUTE, Desk, a_message


def everything(desk: Desk) -> dict[bytes, object]:
    """Return all that is kept of letters, but for who changed them."""
    found: dict[bytes, object] = {}
    for key in desk.client.scan_iter(f"{desk.prefix}routemq:dlq:*"):
        if not re.search(rb"audit|counters|:bin", key):
            kind = desk.client.type(key)
            found[key] = desk.client.hgetall(key) if kind == b"hash" else sorted(desk.client.sort(key, by="x"))
    return found


def test_a_discard_is_undone_at_the_terminal(redis_desk: Desk) -> None:
    desk = redis_desk
    error = ValueError("with a traceback")
    with contextlib.suppress(ValueError):
        raise error
    desk.bury(*(a_message(number) for number in range(4)), error=error)
    desk.bury(a_message(9, bytes(range(256))))
    before = everything(desk)

    told = desk.run("discard", "--route", ROUTE, "--yes")
    assert "Discarded 5 letters." in told.stdout
    found = re.search(r"They are in the bin until .*Z; bring back: routemq dlq undo ([0-9a-f]{8})", told.stderr)
    assert found
    assert everything(desk) == {b"".join((desk.prefix.encode(), b"routemq:dlq:routes")): [ROUTE.encode()]}
    assert "it was discarded by" in desk.run("show", "m000001:0", exit_code=1).stderr
    assert "5 letters until" in desk.run("bin").stdout
    assert f"undo {found[1]}" in desk.run("show", "m000001:0", exit_code=1).stderr

    # By its id, by whoever comes first, and then no more.
    assert desk.run("undo", found[1]).stdout == "Brought 5 letters back.\n"
    assert everything(desk) == before
    assert desk.store.get("m000009:0").payload == bytes(range(256))
    assert "is in the bin" in desk.run("undo", found[1], exit_code=1).stderr
    assert "The bin is empty." in desk.run("bin").stderr
    assert [entry.action for entry in desk.store.audit()][:2] == ["undo", "discard"]

    # Without an id, what this person discarded last; a letter that is there again stays as it is.
    desk.run("discard", "m000001:0")
    desk.bury(a_message(1))
    assert desk.run("undo").stdout == "Brought 0 letters back.\n"
    assert desk.store.count() == 5
    assert desk.run("undo", exit_code=1).stderr.startswith("Nothing that you discarded")

    # What is for good is in no bin.
    assert desk.run("discard", "m000002:0", "--for-good").stderr == ""
    desk.run("discard", "m000003:0", DLQ_BIN_HOURS="0")
    assert desk.store.bin.all() == ()
    desk.run("discard", "m000001:0")
    assert "Nothing was done" in desk.run("bin", "--empty").stderr
    unread = desk.store.keys.dead_bin("discarded while the bin is emptied")
    desk.client.zadd(desk.store.keys.dead_bins, {unread: 1.0})
    assert "1 letter went for good." in desk.run("bin", "--empty", "--yes").stderr
    assert desk.client.zrange(desk.store.keys.dead_bins, 0, -1) == [unread.encode()]
    desk.client.delete(desk.store.keys.dead_bins)
    assert not list(desk.client.scan_iter(f"{desk.prefix}routemq:dlq:bin*"))


@pytest.mark.parametrize(
    "room", [BinRoom(kept_s=60, letters=3), BinRoom(kept_s=60, bytes=3900)], ids=["letters", "bytes"]
)
def test_the_bin_stays_within_its_room(redis_desk: Desk, room: BinRoom) -> None:
    desk = redis_desk
    desk.bury(*(a_message(number) for number in range(10)))
    changes = LetterChanges(desk.client, desk.keys, most=0, room=room)

    def discard(name: str, *numbers: int) -> None:
        done = changes.discard(
            [f"m{number:06}:0" for number in numbers], Operation(actor="ana", id=name), "discard", for_good=False
        )
        assert len(done) == len(numbers)

    def binned() -> dict[str, int]:
        return {found.operation.id: found.letters for found in desk.store.bin.all()}

    discard("one", 0)
    discard("two", 1)
    assert binned() == {"one": 1, "two": 1}
    # Earlier ones make room as a whole; a discard that is larger than the bin goes in part for good.
    discard("three", 2, 3, 4, 5, 6)
    assert binned().keys() == {"three"}
    assert 2 <= binned()["three"] <= 4
    discard("three", 7)
    assert desk.store.bin.get("three").letters <= 4
    assert 0 < desk.client.ttl(desk.keys.dead_bin("three")) <= 60
    back = binned()["three"]
    assert sum(desk.store.undo("three", actor="bo")) == back
    assert desk.store.count() == 2 + back
    assert binned() == {}
    assert not desk.client.exists(desk.keys.dead_bin("three"), desk.keys.dead_bins)


def test_what_expired_is_forgotten_and_other_programs_keys_are_named(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.bury(a_message(1), a_message(2))
    desk.store.discard(["m000001:0"], actor="ana", operation=Operation(actor="ana", id="old"))
    desk.client.delete(desk.keys.dead_bin("old"))
    assert desk.store.bin.all() == ()
    with pytest.raises(NotInBinError):
        list(desk.store.undo("old", actor="ana"))
    desk.store.discard(["m000002:0"], actor="ana", operation=Operation(actor="ana", id="new"))
    assert desk.client.zrange(desk.keys.dead_bins, 0, -1) == [b"new"]
    desk.client.delete(desk.keys.dead_bin_room)
    desk.client.lpush(desk.keys.dead_bin_room, "theirs")
    assert "1 letter went for good." in desk.run("bin", "--empty", "--yes").stderr
    assert desk.client.lrange(desk.keys.dead_bin_room, 0, -1) == [b"theirs"]
    desk.client.zadd(desk.keys.dead_bins, {"new": 1})
    desk.client.set(desk.keys.dead_bin("new"), "theirs")
    assert "The bin is empty." in desk.run("bin").stderr


def test_a_discard_costs_the_same_however_many_there_were(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.bury(*(a_message(number) for number in range(330)))

    def commands_of(number: int) -> int:
        before = desk.client.info("commandstats")
        desk.store.discard([f"m{number:06}:0"], actor="ana")
        after = desk.client.info("commandstats")
        return sum(
            after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in after if name != "cmdstat_info"
        )

    commands_of(0)
    few = commands_of(1)
    for number in range(2, 302):
        desk.store.discard([f"m{number:06}:0"], actor="ana")
    # Whatever else asks this server meanwhile.
    assert commands_of(302) < few + 150

    def room() -> tuple[int, int]:
        letters, size = desk.client.hmget(desk.keys.dead_bin_room, "letters", "bytes")
        return int(letters), int(size)

    def added_up() -> tuple[int, int]:
        found = [
            desk.client.hmget(desk.keys.dead_bin(of.operation.id), "letters", "bytes") for of in desk.store.bin.all()
        ]
        return sum(int(letters) for letters, _ in found), sum(int(size) for _, size in found)

    # What was brought back, has expired, or was not counted by another release, is none of it.
    assert room() == added_up() == (303, room()[1])
    oldest, second = (desk.client.zrange(desk.keys.dead_bins, 0, 1)[at].decode() for at in (0, 1))
    assert sum(desk.store.undo(desk.store.bin.all()[0].operation.id, actor="bo")) == 1
    desk.client.delete(desk.keys.dead_bin(oldest), desk.keys.dead_bin(second))
    desk.store.discard(["m000310:0", "m000311:0"], actor="ana")
    assert room() == added_up() == (302, room()[1])
    desk.client.hdel(desk.keys.dead_bin_room, desk.store.bin.all()[5].operation.id)
    desk.store.discard(["m000312:0"], actor="ana")
    assert room() == added_up() == (303, room()[1])
    # As many, of which another release has put in some, and taken out others.
    desk.client.hdel(desk.keys.dead_bin_room, desk.store.bin.all()[0].operation.id)
    desk.client.hset(desk.keys.dead_bin_room, mapping={"gone": "50 5000", "letters": 352})
    desk.store.discard(["m000313:0"], actor="ana")
    assert room() == added_up() == (304, room()[1])
