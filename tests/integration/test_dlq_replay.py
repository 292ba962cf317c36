"""`routemq dlq replay`: which letters, edited or not, canaries first, and taken up again where it was stopped."""

import contextlib
import json
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cbor2
import orjson
import pytest
import redis

from routemq.dead_letters import DeadLetter, LetterFilter
from routemq.dead_letters.in_flight import InFlight
from routemq.envelope import Envelope, FailedAttempt, TaskMessage, unacked_record
from routemq.lifecycle.moves import Moves
from tests.desk import QUEUE, ROUTE, Desk, a_message
from tests.processes import RunningProcess, running, wait_until


def test_replay_by_id_and_by_filter(desk: Desk) -> None:
    desk.bury(*(a_message(number) for number in range(6)))
    assert "Replayed 1 letter to the queue sensors.data" in desk.run("replay", "m000003:0").stdout
    assert "no dead letter 'm000003:0'" in desk.run("replay", "m000003:0", exit_code=1).stderr
    dry = desk.run("replay", "--route", ROUTE)
    assert "5 letters would be replayed" in dry.stdout
    assert "Nothing was done" in dry.stderr
    asked = ["--canary", "3", "--canary-wait", "7", "--rate", "30/min", "--to-queue", "sensors.data", "--force"]
    told = desk.run("replay", "--route", ROUTE, *asked).stderr
    assert f"replay --route '{ROUTE}' {' '.join(asked)} --yes" in told
    assert len(desk.queued()) == 1
    assert "Replayed 5 of 5" in desk.run("replay", "--route", ROUTE, "--yes").stdout
    assert [message.id for message in desk.queued()] == [f"m{number:06}" for number in (3, 0, 1, 2, 4, 5)]
    assert desk.run("replay", "--route", ROUTE, exit_code=3).stderr.startswith("No dead letter matches")
    assert "one of these" in desk.run("replay", exit_code=2).stderr
    refused = desk.run_process("replay", "x:0", "--to-queue", "typo", exit_code=1)
    assert b"there are: sensors.data" in refused.stderr
    entries = [json.loads(line) for line in desk.run("audit", "--json").stdout.splitlines()]
    assert [(entry["action"], entry["count"]) for entry in entries] == [("replay", 5), ("replay", 1)]
    assert "route=sensors/{device_id}/data" in desk.run("audit").stdout


def test_letters_of_routes_that_are_not_here_are_replayed_with_a_warning(redis_desk: Desk) -> None:
    renamed = a_message(1, route="sensors/{id}/data")
    strange = a_message(2, route="pumps/{id}/state", envelope=Envelope(topic="pumps/p1/state", payload=b"1"))
    redis_desk.bury(renamed, strange)
    warning = b"Warning: this release has no route for letters of pumps/{id}/state. Replayed, they wait"
    assert redis_desk.run_process("replay", "m000001:0").stderr == b""
    assert warning in redis_desk.run_process("replay", "--route", "pumps/{id}/state").stderr
    redis_desk.bury(replace(strange, id="second"), replace(strange, id="third"))
    assert warning in redis_desk.run_process("replay", "--all").stderr
    assert warning in redis_desk.run_process("replay", "second:0").stderr
    assert warning in redis_desk.run_process("replay", "--contains", "1", "--yes").stderr


def test_more_than_three_generations_need_force(redis_desk: Desk) -> None:
    redis_desk.bury(a_message(1, generation=3))
    assert "--force replays it" in redis_desk.run("replay", "m000001:3", exit_code=1).stderr
    redis_desk.run("replay", "m000001:3", "--force")
    assert redis_desk.queued()[0].generation == 4


def test_edit_is_checked_before_it_is_sent(redis_desk: Desk) -> None:
    redis_desk.bury(a_message(1, b'{"temperature":"warm"}'))

    def editor(text: str) -> str:
        script = redis_desk.folder / "editor"
        script.write_text(f"#!/bin/sh\nprintf '%s\\n' '{text}' > \"$1\"\n", encoding="utf-8")
        script.chmod(0o755)
        return str(script)

    edit = ("replay", "m000001:0", "--edit")
    refused = redis_desk.run_process(*edit, exit_code=1, EDITOR=editor('{"temperature": "hot"}'))
    assert b"payload: temperature: Input should be a valid number" in refused.stderr
    assert redis_desk.store.count() == 1
    assert b"Nothing was changed" in redis_desk.run_process(*edit, EDITOR="true").stderr
    redis_desk.run_process(*edit, EDITOR=editor('{"temperature": 21.5}'))
    assert redis_desk.queued()[0].envelope.payload == b'{"temperature": 21.5}'


class AWorker:
    """Takes all that is queued, and ends it as a worker's scripts do."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.messages = desk.queued()
        for message in self.messages:
            desk.client.hset(desk.keys.unacked, message.delivery_tag, unacked_record(message.encode(), QUEUE))
        desk.client.delete(desk.keys.queue(QUEUE))
        self.moves = Moves(desk.client, desk.keys)

    def is_done(self, *messages: TaskMessage) -> None:
        self.moves.acknowledge({ROUTE: [message.delivery_tag for message in messages]})

    def buries(self, *messages: TaskMessage) -> None:
        for message in messages:
            letter = DeadLetter.of(message, reason="failed", error=ValueError("again"), worker="w")
            assert self.desk.store.bury(letter, delivery_tag=message.delivery_tag)

    def forgets(self, *messages: TaskMessage) -> None:
        for message in messages:
            self.desk.client.hdel(self.desk.keys.unacked, message.delivery_tag)


@contextlib.contextmanager
def replaying_with_canaries(desk: Desk, **env: str) -> Iterator[tuple[AWorker, RunningProcess]]:
    """Replay twenty letters, five of them first, behind three messages that have waited for longer."""
    desk.fill(20)
    for number in range(100, 103):
        desk.client.lpush(desk.keys.queue(QUEUE), a_message(number).encode())
    argv = desk.argv("replay", "--all", "--yes", "--canary", "5")
    with running(argv, cwd=desk.folder, env=desk.env | env) as process:
        wait_until(lambda: len(desk.queued()) == 8)
        worker = AWorker(desk)
        worker.is_done(*worker.messages[:3])
        yield worker, process


def untouched(desk: Desk) -> int:
    return sum(letter.generation == 0 for letter in desk.store.letters())


def test_canaries_that_are_done_let_the_others_follow(redis_desk: Desk) -> None:
    with replaying_with_canaries(redis_desk) as (worker, process):
        worker.is_done(*worker.messages[3:6])
        # One fails and runs again, under another tag: it is the same message.
        again = worker.messages[6].failed(FailedAttempt(at=1.0, error="KeyError", worker="w"))
        worker.forgets(worker.messages[6])
        redis_desk.client.hset(redis_desk.keys.unacked, "routemq:7", unacked_record(again.encode(), QUEUE))
        worker.moves.acknowledge({ROUTE: ["routemq:7"]})
        assert process.is_alive
        worker.is_done(worker.messages[7])
        assert process.wait() == 0
        assert "5 of 5 canaries are done, 0 died again; going on" in process.output()
    assert untouched(redis_desk) == 0
    assert len(redis_desk.queued()) == 15


def test_canaries_that_die_again_keep_the_others_back(redis_desk: Desk) -> None:
    desk = redis_desk
    with replaying_with_canaries(desk) as (worker, process):
        worker.buries(*worker.messages[3:5])
        assert process.wait() == 4
        output = process.output()
    assert untouched(desk) == 15
    assert "2 of 5 canaries died again; stopped: 5 of 20 letters are done" in output
    replay_id = output.split("--resume ")[1].split()[0]
    assert replay_id in desk.run("replay", "--resume", "list").stdout
    desk.run("replay", "--resume", replay_id)
    assert untouched(desk) == 0
    assert desk.run("replay", "--resume", replay_id, exit_code=1).stderr.startswith("Error: no unfinished replay")


@pytest.mark.parametrize("is_killed", [True, False])
def test_who_goes_on_waits_for_the_same_canaries(redis_desk: Desk, is_killed: bool) -> None:
    desk = redis_desk
    with replaying_with_canaries(desk) as (worker, first):
        wait_until(lambda: "waiting up to 60 s" in first.output())
        replay_id = first.output().split("Replay ")[1].split(":")[0]
        if is_killed:
            first.signal(signal.SIGKILL)
            first.wait()
        with running(desk.argv("replay", "--resume", replay_id), cwd=desk.folder, env=desk.env) as second:
            wait_until(lambda: "5 canaries are replayed; waiting" in second.output())
            assert untouched(desk) == 15
            worker.buries(*worker.messages[3:5])
            assert second.wait() == 4
            assert "2 of 5 canaries died again; stopped: 5 of 20 letters are done" in second.output()
        assert is_killed or first.wait() == 4
    assert untouched(desk) == 15


def test_canaries_that_were_all_gone_hold_up_nobody_who_goes_on(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.fill(3)
    frozen = desk.store.freeze(LetterFilter(route=ROUTE), actor="ana")
    desk.store.discard(list(desk.store.frozen.head(frozen.id, 3)), actor="bob")
    for _ in range(2):
        sent = desk.store.replay_canaries(frozen, limit=5)
        assert sent is not None
        assert sent[1].look().count == 0
    assert desk.store.replay_step(frozen) is None


def test_a_letter_that_is_replayed_again_is_not_known_of_from_before(redis_desk: Desk) -> None:
    desk = redis_desk
    message = a_message(1)
    for end in ("done", "died", None):
        desk.bury(message)
        desk.store.replay([f"{message.id}:0"], actor="ana")
        (note,) = desk.store.watched.notes([f"{message.id}:0"])
        assert note is not None
        assert note.state == "pending"
        worker = AWorker(desk)
        if end == "done":
            worker.is_done(*worker.messages)
        elif end == "died":
            worker.buries(*worker.messages)


def test_what_is_known_stays_known_when_another_process_was_at_the_same_letters(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.fill(1)
    frozen = desk.store.freeze(LetterFilter(route=ROUTE), actor="ana")
    ids = desk.store.frozen.head(frozen.id, 1)
    assert desk.store.replay_step(frozen)
    worker = AWorker(desk)
    worker.is_done(*worker.messages)
    desk.store.sent.watch(frozen, ids, now=desk.store.now())
    assert [note and note.state for note in desk.store.watched.notes(ids)] == ["done"]


def test_a_canary_that_is_known_of_costs_nobody_anything(redis_desk: Desk) -> None:
    desk, keys = redis_desk, redis_desk.keys
    desk.fill(3)
    frozen = desk.store.freeze(LetterFilter(route=ROUTE), actor="ana")
    assert desk.store.replay_step(frozen)
    worker = AWorker(desk)
    worker.is_done(worker.messages[0])
    worker.buries(*worker.messages[1:])
    assert desk.client.exists(keys.dead_canaries) == 0
    told = desk.run("show", f"{worker.messages[0].id}:0", exit_code=1).stderr
    assert "it was replayed by ana at" in told
    assert "and its message was done at" in told
    # That it died again stays known when its letter is gone before anybody looked.
    desk.store.discard([f"{worker.messages[1].id}:1"], actor="bob")
    assert desk.store.replay_step(frozen) is None
    outcome = desk.store.sent.look(desk.store.frozen.record(frozen.id), [QUEUE])
    assert (outcome.watched, outcome.done, outcome.died, len(outcome.letters)) == (3, 1, 2, 1)
    assert desk.client.exists(keys.dead_outcomes) == 0


@pytest.mark.parametrize(("transport", "code", "left"), [("routemq", 4, 15), ("stock", 0, 0)])
def test_canaries_that_are_gone_are_not_taken_for_done(redis_desk: Desk, transport: str, code: int, left: int) -> None:
    with replaying_with_canaries(redis_desk, ROUTEMQ_TRANSPORT=transport) as (worker, process):
        worker.is_done(worker.messages[3])
        worker.forgets(*worker.messages[4:])
        assert process.wait() == code
        told = {4: "4 of 5 canaries are neither done nor dead", 0: "5 of 5 canaries are done (4 of them as far as"}[
            code
        ]
        assert told in process.output()
    assert untouched(redis_desk) == left


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_replay_that_is_stopped_is_taken_up_again(redis_desk: Desk, signal_number: int) -> None:
    desk = redis_desk
    desk.fill(3000)
    argv = desk.argv("replay", "--all", "--yes", "--rate", "2000/s")
    with running(argv, cwd=desk.folder, env=desk.env) as process:
        wait_until(lambda: len(desk.queued()) > 400, message="some are replayed")
        process.signal(signal_number)
        assert process.wait() == (130 if signal_number == signal.SIGINT else -signal.SIGKILL)
        output = process.output()
    assert "--rate 2000/s" in output.split("--resume ")[1].splitlines()[0]
    done = len(desk.queued())
    assert 400 < done < 3000
    assert desk.store.count() == 3000 - done
    assert "Traceback" not in output
    desk.run("replay", "--resume", output.split("--resume ")[1].split()[0])
    counts = Counter(message.id for message in desk.queued())
    assert len(counts) == 3000
    assert set(counts.values()) == {1}
    assert desk.store.count() == 0


def test_a_payload_of_a_codec_is_shown_and_edited_as_json(redis_desk: Desk) -> None:
    declared = 'router.on("sensors/{device_id}/data", store, codec="cbor")\n'
    module = (redis_desk.folder / "my_routers.py").read_text("utf-8").rsplit("router.on", 1)[0] + declared
    (redis_desk.folder / "my_cbor.py").write_text(module, encoding="utf-8")
    (redis_desk.folder / "editor").write_text('#!/bin/sh\nsed -i s/hot/21.5/ "$1"\n', encoding="utf-8")
    (redis_desk.folder / "editor").chmod(0o755)
    env = {"ROUTEMQ_ROUTERS": "my_cbor", "EDITOR": str(redis_desk.folder / "editor")}
    redis_desk.bury(a_message(1, cbor2.dumps({"temperature": "hot"})), a_message(2, cbor2.dumps({"raw": b"\xff"})))
    shown = redis_desk.run_process("show", "m000001:0", **env).stdout.decode()
    assert "payload: 17 bytes, CBOR, decoded" in shown
    assert '"temperature": "hot"' in shown
    said = orjson.loads(redis_desk.run_process("show", "m000002:0", "--json", **env).stdout)
    assert (said["codec"], said["payload_decoded"]) == ("CBOR", {"raw": "_w=="})
    # Where the application is not there, its bytes are.
    assert b"binary" in redis_desk.run_process("show", "m000001:0", ROUTEMQ_ROUTERS="no_such").stdout

    refused = redis_desk.run_process("replay", "m000002:0", "--edit", exit_code=1, **env)
    assert b"JSON cannot hold all that this CBOR says, such as bytes or times" in refused.stderr
    redis_desk.run_process("replay", "m000001:0", "--edit", **env)
    (message,) = redis_desk.queued()
    assert cbor2.loads(message.envelope.payload) == {"temperature": "21.5"}


def test_looking_for_a_message_costs_redis_little_memory_however_large_others_are(redis_desk: Desk) -> None:
    desk, answers = redis_desk, [0]

    class Measured(redis.Redis):
        def lrange(self, *args: Any) -> Any:
            found: Any = super().lrange(*args)
            answers.append(sum(map(len, found)))
            return found

    desk.bury(a_message(1))
    desk.store.replay(["m000001:0"], actor="ana")
    large = b"x" * 250_000
    with Measured(connection_pool=desk.client.connection_pool) as client:
        for item, count, state in ((b"x", 3000, "waiting"), (large, 100, "waiting"), (large, 200, "far")):
            desk.client.lpush(desk.keys.queue(QUEUE), *[item] * count)
            found = InFlight.find(client, desk.keys, "m000001.1", [QUEUE])
            assert found is not None
            assert found.state == state
    assert max(answers) < 10_000_000


def test_what_cannot_be_watched_is_replayed_all_the_same(redis_desk: Desk) -> None:
    desk = redis_desk
    desk.fill(3)
    desk.client.set(desk.keys.dead_canaries, "theirs")
    frozen = desk.store.freeze(LetterFilter(route=ROUTE), actor="ana")
    # Nor does a Redis that is full keep them where they are.
    before = desk.client.config_get("maxmemory")["maxmemory"]
    desk.client.config_set("maxmemory", "1mb")
    try:
        while desk.store.replay_step(frozen):
            pass
    finally:
        desk.client.config_set("maxmemory", before)
    assert len(desk.queued()) == 3
    assert desk.store.unfinished_replays() == ()
    # Of those that are gone the audit tells.
    desk.bury(a_message(1))
    desk.run("discard", "m000001:0", "--yes")
    assert "it was discarded by" in desk.run("show", "m000001:0", exit_code=1).stderr
