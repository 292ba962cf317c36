"""Each script with another application's key under each of our names, and without each command: all, or nothing."""

import contextlib
import json
import re
from collections.abc import Callable

import pytest

from routemq.dead_letters import DeadLetter, NotInBinError, ReplayOptions
from routemq.dead_letters.audit import Operation
from routemq.envelope import Envelope, TaskMessage
from routemq.lifecycle.moves import Moves, StartCommand
from routemq.mark import Mark
from routemq.paused import PausedRoutes
from routemq.route import Route
from routemq.routing import Router
from tests.lifecycle import COMMANDS, Place, Worker, limited_user
from tests.servers import Redis

Step = Callable[[], object]


def message(number: int) -> TaskMessage:
    return TaskMessage(id=f"m{number}", route="r", queue="a", envelope=Envelope(topic="t", payload=b"[]"))


def letter(number: int) -> DeadLetter:
    error = ValueError("no")
    try:
        raise error
    except ValueError:
        return DeadLetter.of(message(number), reason="failed", error=error, worker="w")


def taken(place: Place, count: int, *, mark: bool = False) -> list[str]:
    """Let a worker hold so many messages."""
    place.put(*[message(number).encode() for number in range(count)])
    worker = Worker(place.client, place.keys)
    tags = [item.tag for item in worker.fetch(("a",), count, mark=mark).items]
    worker.close()
    return tags


def three_letters(place: Place) -> list[str]:
    place.letters.bury_direct([(letter(number), message(number).encode()) for number in range(3)])
    return [letter(number).id for number in range(3)]


def enqueue(place: Place) -> Step:
    items = {queue: [message(number).encode()] for number, queue in enumerate(("a", "b"))}
    return lambda: place.moves.enqueue(items, received={"r": 2}, sender="me", number="1")


def fetch(place: Place) -> Step:
    place.put(*[message(number).encode() for number in range(3)])
    place.put(message(3).encode(), priority=3)
    place.client.zadd(place.keys.delayed("a"), {message(4).encode(): 1})
    place.client.zadd(place.keys.delayed("b"), {message(5).encode(): 1, message(6).encode(): 4e9})
    worker = Worker(place.scripts_client, place.keys)
    return lambda: worker.fetch(("a", "b"), 4, mark=True)


def acknowledge(place: Place) -> Step:
    tags = taken(place, 3, mark=True)
    place.client.hset(place.keys.dead_canaries, "m0.0", "somebody waits")
    return lambda: place.moves.acknowledge({"r": tags[:2], None: tags[2:]})


def retry_later(place: Place) -> Step:
    (tag,) = taken(place, 1)
    return lambda: place.retry(message(0), tag=tag, delay_s=1)


def bury(place: Place) -> Step:
    (tag,) = taken(place, 1)
    place.client.hset(place.keys.dead_canaries, "m0.0", "somebody waits")
    return lambda: place.letters.bury(letter(0), delivery_tag=tag)


def bury_direct(place: Place) -> Step:
    three = [(letter(number), message(number).encode()) for number in range(3)]
    return lambda: place.letters.bury_direct(three)


def put_back_unread(place: Place) -> Step:
    tags = taken(place, 3, mark=True)
    return lambda: place.moves.put_back(tags, "unread")


def put_back_returned(place: Place) -> Step:
    tags = taken(place, 3, mark=True)
    place.moves.put_back(tags, "returned")
    worker = Worker(place.client, place.keys)
    again = [item.tag for item in worker.fetch(("a",), 3).items]
    worker.close()
    return lambda: place.moves.put_back(again, "returned")


def restore(place: Place) -> Step:
    tags = taken(place, 3, mark=True)
    place.client.zadd(place.keys.unacked_index, dict.fromkeys(tags, 1.0))
    place.client.zadd(place.keys.unacked_index, {"ahead": 4e9})
    return place.restore_lost


def give_back(place: Place) -> Step:
    (tag,) = taken(place, 1)
    found = place.held(tag)
    assert found is not None
    mark = Mark(unknown_since=1_800_000_000)
    return lambda: place.moves.give_back(mark.on(found.item), tag=tag, queue=found.queue, delay_s=1)


def requeue(place: Place) -> Step:
    record = json.dumps([json.loads(message(0).encode()), "", "a"]).encode()
    place.client.hset(place.keys.unacked, "theirs", record)
    place.client.zadd(place.keys.unacked_index, {"theirs": 1.0})
    return lambda: place.moves.requeue(message(0).encode(), tag="theirs", record=record, lists=["a", "b"])


def renew(place: Place) -> Step:
    tags = taken(place, 3)
    return lambda: place.moves.renew(tags, running=True)


def promote(place: Place) -> Step:
    place.client.zadd(place.keys.delayed("a"), {message(0).encode(): 1, message(1).encode(): 4e9})
    place.client.zadd(place.keys.delayed("b"), {message(2).encode(): 1})
    return lambda: place.moves.promote(["a", "b"])


def hasten(place: Place) -> Step:
    place.client.zadd(place.keys.delayed("a"), {message(0).encode(): 4e9, message(1).encode(): 4e9})
    return lambda: place.moves.hasten("a", most=1)


def start(place: Place) -> Step:
    tags, command = taken(place, 2), StartCommand(place.keys)
    return lambda: place.scripts_client.execute_command(*command.arguments(tags, started=True))


def replay(place: Place) -> Step:
    ids = three_letters(place)
    frozen = place.letters.freeze(ids, actor="me", options=ReplayOptions(force=True))
    return lambda: place.letters.replay_step(frozen, limit=2)


def discard(place: Place) -> Step:
    ids = three_letters(place)
    return lambda: place.letters.discard(ids[:2], actor="me", operation=Operation(actor="me", id="same"))


def undo(place: Place) -> Step:
    operation = Operation(actor="me", id="same")
    place.letters.discard(three_letters(place)[:2], actor="me", operation=operation)

    def bring_back() -> None:
        # All of it may have been brought back already.
        with contextlib.suppress(NotInBinError):
            list(place.letters.undo(operation.id, actor="me"))

    return bring_back


def import_(place: Place) -> Step:
    ids = three_letters(place)
    copies = list(place.letters.archived([place.letters.get(name).letter for name in ids]))
    place.letters.discard(ids[:2], actor="me", for_good=True)
    return lambda: place.letters.import_batch(copies, Operation(actor="me"), file_digest="d", lines_before=0)


def a_route() -> Route:
    return Router().on("t", "app:nothing", name="r", queue="a")


def pause(place: Place) -> Step:
    return lambda: PausedRoutes(place.scripts_client, place.keys).pause(a_route(), who="me")


def pause_no_more(place: Place) -> Step:
    PausedRoutes(place.client, place.keys).pause(a_route(), who="me")
    return lambda: PausedRoutes(place.scripts_client, place.keys).resume("r", who="me")


def set_aside(place: Place) -> Step:
    PausedRoutes(place.client, place.keys).pause(a_route(), who="me")
    return set_aside_no_more(place)


def set_aside_no_more(place: Place) -> Step:
    (tag,) = taken(place, 1)
    return lambda: place.moves.set_aside(message(0).encode(), tag=tag, queue="a", paused_as="r")


def set_aside_twice(place: Place) -> Step:
    set_aside(place)()
    return set_aside_no_more(place)


def take_up(place: Place) -> Step:
    set_aside(place)()
    return lambda: place.moves.take_up("a", until=4e9)


STEPS = [
    *(enqueue, bury_direct, fetch, promote, hasten, renew, start, acknowledge, retry_later, give_back, put_back_unread),
    *(put_back_returned, restore, requeue, bury, replay, discard, undo, import_, pause, pause_no_more, set_aside),
    *(set_aside_no_more, set_aside_twice, take_up),
]


def ids(steps: object) -> str:
    return getattr(steps, "__name__", "").strip("_")


def test_every_script_is_tried() -> None:
    tried = {re.sub("_(unread|returned|twice|no_more)$", "", ids(step)) for step in STEPS}
    verbs = {name.rstrip("_") for name in vars(Moves) if not name.startswith("_")}
    assert tried == verbs | {"fetch", "start"}


def same_name(name: str, place: Place) -> str:
    """Return the key of this name; a replay has an id of its own."""
    stem = re.sub(r"(replay|replay-ids):\w+$", r"\1:", name)
    there = [key for key in place.names() if stem != name and key.startswith(place.keys.prefix + stem)]
    return there[0] if there else place.keys.prefix + name


@pytest.mark.parametrize("prepare", STEPS, ids=ids)
def test_another_applications_key_under_any_name_is_named_and_loses_nothing(
    redis_store: Redis, caplog: pytest.LogCaptureFixture, prepare: Callable[[Place], Step]
) -> None:
    with redis_store.client() as client:
        usual = Place(client)
        step = prepare(usual)
        before = usual.snapshot()
        step()
        after = usual.snapshot()
        changed = {key.decode() for key in {*before, *after} if before.get(key) != after.get(key)}
        for name in sorted(changed):
            place = Place(client)
            step = prepare(place)
            key = same_name(name.removeprefix(usual.keys.prefix), place)
            caplog.clear()
            place.put_in_the_way(key, "list" if b"string" in (client.type(key), client.type(name)) else "string")
            with place.all_or_nothing() as refused:
                step()
            said = str(refused[0]) if refused else caplog.text
            # What Python reads before it calls a script is refused in Redis' own words.
            assert key in said or "WRONGTYPE" in said
            place.mend(key)
            step()
            assert place.count_messages() == usual.count_messages(), name


@pytest.mark.parametrize("prepare", STEPS, ids=ids)
def test_a_command_that_is_forbidden_loses_nothing(redis_store: Redis, prepare: Callable[[Place], Step]) -> None:
    with redis_store.client() as client, limited_user(client) as user:
        usual = Place(client)
        prepare(usual)()
        limited = user.client()
        for command in COMMANDS:
            place = Place(client, scripts=limited)
            step = prepare(place)
            user.forbid(command)
            with place.all_or_nothing():
                step()
            user.permit()
            step()
            assert place.count_messages() == usual.count_messages(), command
        limited.close()
