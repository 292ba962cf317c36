"""The life of a message against a model: it is in exactly one place, whatever happens in whatever order, and fails."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from routemq_transport.items import Item

from routemq.dead_letters import DeadLetter, ReplayOptions
from routemq.dead_letters.archive import ArchivedLetter
from routemq.dead_letters.audit import Operation
from routemq.envelope import Envelope, TaskMessage
from routemq.lifecycle.moves import StartCommand
from routemq.lifecycle.scripts import UnusableKeyError
from routemq.metrics.totals import RouteTotals, read_totals
from tests.lifecycle import COMMANDS, PRIORITIES, QUEUES, LimitedUser, Place, Worker
from tests.servers import Redis


def message(queue: str = "a", *, number: int) -> TaskMessage:
    return TaskMessage(id=f"m{number}", route="r", queue=queue, envelope=Envelope(topic="t", payload=b"[]"))


def letter_of(dead: TaskMessage) -> DeadLetter:
    error = ValueError("no")
    try:
        raise error
    except ValueError:
        return DeadLetter.of(dead, reason="failed", error=error, worker="w")


class OneRoom(RuleBasedStateMachine):
    """Two workers, three queues, every script, faults; the model knows where each message must be."""

    server: Redis

    @initialize()
    def begin(self) -> None:
        self.client = self.server.client()
        self.user = LimitedUser(self.client)
        self.limited = self.user.client()
        self.place = Place(self.client, scripts=self.limited)
        self.workers = [Worker(self.limited, self.place.keys) for _ in range(2)]
        self.forbidden: set[str] = set()
        self.all_counted = True
        self.put_ids: set[str] = set()
        self.done: set[str] = set()
        self.counted = 0
        self.dead: dict[str, str] = {}
        self.archived: dict[str, ArchivedLetter] = {}
        self.binned: dict[str, dict[str, str]] = {}
        self.frozen: list[Any] = []
        self.stock_tags = self.messages = 0

    def teardown(self) -> None:
        if hasattr(self, "client"):
            for worker in self.workers:
                worker.close()
            self.limited.close()
            self.user.remove()
            for key in self.client.scan_iter(self.place.keys.prefix + "*"):
                self.client.delete(key)
            self.client.close()

    @contextmanager
    def all_or_nothing(self) -> Iterator[list[redis.ResponseError]]:
        """Run a script that is refused only while something is wrong, and then changes nothing."""
        with self.place.all_or_nothing() as refused:
            yield refused
        for exc in refused:
            assert isinstance(exc, UnusableKeyError) or self._is_refusal_of_a_read(exc), exc

    def _is_refusal_of_a_read(self, error: redis.ResponseError) -> bool:
        denied = any(words in str(error).lower() for words in ("no permissions", "can't run this command"))
        return bool((self.forbidden and denied) or (self.place.in_the_way and "WRONGTYPE" in str(error)))

    def _new_number(self) -> int:
        self.messages += 1
        return self.messages

    # Faults.

    @precondition(lambda self: len(self.place.in_the_way) < 2)
    @rule(data=st.data())
    def another_application_takes_a_name(self, data: st.DataObject) -> None:
        keys = self.place.keys
        names = {
            *self.place.names(),
            keys.counters("r"),
            keys.counted_routes,
            keys.dead_canaries,
            keys.dead_outcomes,
            keys.dead_audit,
        }
        names |= {keys.delayed("a"), keys.queue("b"), keys.dead_by_time("r"), keys.dead_full_routes}
        key = data.draw(st.sampled_from(sorted(names - set(self.place.in_the_way))))
        kinds = ["list"] if self.client.type(key) == b"string" else ["string"]
        if key in (keys.counters("r"), keys.dead_counters("r")):
            kinds.append("words")
        self.place.put_in_the_way(key, data.draw(st.sampled_from(kinds)))
        if key in (keys.counters("r"), keys.counted_routes):
            self.all_counted = False

    @precondition(lambda self: self.place.in_the_way)
    @rule(data=st.data())
    def the_name_is_ours_again(self, data: st.DataObject) -> None:
        self.place.mend(data.draw(st.sampled_from(self.place.in_the_way)))

    @rule(command=st.sampled_from(COMMANDS))
    def a_command_is_forbidden(self, command: str) -> None:
        self.user.forbid(command)
        self.forbidden.add(command)
        if command in {"sadd", "hincrby"}:
            self.all_counted = False

    @rule()
    def all_is_permitted_again(self) -> None:
        self.user.permit()
        self.forbidden.clear()

    @rule()
    def script_flush(self) -> None:
        # The fetcher is told by the next reply; the others load their scripts themselves.
        for worker in self.workers:
            worker.forget_script()
        self.client.script_flush()

    # The life of a message.

    @rule(queue=st.sampled_from(QUEUES), priority=st.sampled_from(PRIORITIES), count=st.integers(1, 5))
    def put(self, queue: str, priority: int, count: int) -> None:
        messages = [message(queue, number=self._new_number()) for _ in range(count)]
        items = [each.encode() for each in messages]
        with self.all_or_nothing() as refused:
            if priority:
                self.place.put(*items, queue=queue, priority=priority)
            else:
                number = messages[0].id
                lengths = self.place.moves.enqueue({queue: items}, received={"r": count}, sender="me", number=number)
                assert self.place.moves.enqueue({queue: items}, received={}, sender="me", number=number) == lengths
        if not refused:
            self.put_ids.update(each.id for each in messages)

    @rule()
    def bury_what_never_was_queued(self) -> None:
        two = [message(number=self._new_number()) for _ in range(2)]
        with self.all_or_nothing() as refused:
            self.place.letters.bury_direct([(letter_of(each), each.encode()) for each in two])
        if not refused:
            self.put_ids.update(each.id for each in two)
            self.dead.update({each.id: letter_of(each).id for each in two})

    @rule(
        who=st.integers(0, 1), most=st.integers(1, 8), fair=st.booleans(), in_turn=st.integers(1, 4), mark=st.booleans()
    )
    def fetch(self, who: int, most: int, fair: bool, in_turn: int, mark: bool) -> None:
        with self.all_or_nothing():
            fetched = self.workers[who].fetch(QUEUES, most, fair=fair, in_turn=in_turn, mark=mark)
            assert len(fetched.items) <= most

    def _some(self, data: st.DataObject, who: int) -> Item | None:
        held = self.workers[who].held
        return held[data.draw(st.sampled_from(sorted(held)))] if held else None

    def _is_held(self, item: Item) -> bool:
        return bool(self.client.hexists(self.place.real(self.place.keys.unacked), item.tag))

    @rule(data=st.data(), who=st.integers(0, 1), running=st.booleans())
    def acknowledge(self, data: st.DataObject, who: int, running: bool) -> None:
        item = self._some(data, who)
        if item is not None:
            route, held = data.draw(st.sampled_from(["r", None])), self._is_held(item)
            with self.all_or_nothing() as refused:
                self.place.moves.acknowledge({route: [item.tag]})
            if not refused:
                del self.workers[who].held[item.tag]
                if held:
                    self.done.add(TaskMessage.decode(item.raw).id)
                    self.counted += route is not None

    @rule(data=st.data(), who=st.integers(0, 1), delay_s=st.sampled_from([0.0, 100.0]))
    def retry(self, data: st.DataObject, who: int, delay_s: float) -> None:
        item = self._some(data, who)
        if item is not None:
            with self.all_or_nothing() as refused:
                self.place.retry(TaskMessage.decode(item.raw), tag=item.tag, delay_s=delay_s)
            if not refused:
                del self.workers[who].held[item.tag]

    @rule(data=st.data(), who=st.integers(0, 1), delay_s=st.sampled_from([0.0, 100.0]))
    def give_back(self, data: st.DataObject, who: int, delay_s: float) -> None:
        item = self._some(data, who)
        if item is not None:
            with self.all_or_nothing() as refused:
                found = self.place.held(item.tag)
                if found is not None:
                    mark = replace(found.mark, unknown_since=int(found.at))
                    self.place.moves.give_back(mark.on(found.item), tag=item.tag, queue=found.queue, delay_s=delay_s)
            if not refused:
                del self.workers[who].held[item.tag]

    @rule(data=st.data(), who=st.integers(0, 1))
    def bury(self, data: st.DataObject, who: int) -> None:
        item = self._some(data, who)
        if item is not None:
            letter = letter_of(TaskMessage.decode(item.raw))
            with self.all_or_nothing() as refused:
                if self.place.letters.bury(letter, delivery_tag=item.tag):
                    self.dead[letter.task_id] = letter.id
            if not refused:
                del self.workers[who].held[item.tag]

    @rule(data=st.data(), who=st.integers(0, 1), how=st.sampled_from(["unread", "returned"]))
    def put_back(self, data: st.DataObject, who: int, how: Any) -> None:
        item = self._some(data, who)
        if item is not None:
            with self.all_or_nothing() as refused:
                self.place.moves.put_back([item.tag], how)
            if not refused:
                del self.workers[who].held[item.tag]

    @rule(who=st.integers(0, 1), running=st.booleans())
    def renew(self, who: int, running: bool) -> None:
        held = self.workers[who].held
        with self.all_or_nothing():
            lost = self.place.moves.renew(list(held), running=running)
            assert set(lost) == {tag for tag, item in held.items() if not self._is_held(item)}

    @rule(queue=st.sampled_from(QUEUES))
    def a_stock_worker_takes_one_and_is_gone(self, queue: str) -> None:
        keys = self.place.keys
        if {keys.queue(queue), keys.unacked, keys.unacked_index} & set(self.place.in_the_way):
            return
        taken: Any = self.client.rpop(keys.queue(queue))
        if taken is not None:
            self.stock_tags += 1
            tag, record = f"stock{self.stock_tags}", json.dumps([json.loads(taken), "", queue])
            self.client.hset(keys.unacked, tag, record)
            self.client.zadd(keys.unacked_index, {tag: float(self.client.time()[0])})  # type: ignore[index]

    @rule(seconds=st.sampled_from([50, 150, 3600, -3600]))
    def leases_run_out(self, seconds: int) -> None:
        self.place.expire_leases(seconds)
        others: list[str] = []
        with self.all_or_nothing():
            _, others = self.place.restore_lost()
        for tag in others:
            record: Any = self.client.hget(self.place.keys.unacked, tag)
            item, _, queue = json.loads(record)
            with self.all_or_nothing():
                self.place.moves.requeue(json.dumps(item), tag=tag, record=record, lists=[queue])

    @rule()
    def promote(self) -> None:
        with self.all_or_nothing():
            self.place.moves.promote(QUEUES)

    @rule(queue=st.sampled_from(QUEUES))
    def hasten(self, queue: str) -> None:
        with self.all_or_nothing():
            self.place.moves.hasten(queue)

    @rule(who=st.integers(0, 1), started=st.booleans())
    def start(self, who: int, started: bool) -> None:
        tags, command = list(self.workers[who].held), StartCommand(self.place.keys)
        if tags:
            with self.all_or_nothing():
                self.limited.execute_command(*command.arguments(tags, started=started))

    # Dead letters.

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.dead)), min_size=1, max_size=3, unique=True))
        with self.all_or_nothing():
            result = self.place.letters.replay([self.dead[task] for task in chosen], actor="me", force=True)
            assert not result.gone
            assert not result.refused
            for task in chosen:
                del self.dead[task]

    @precondition(lambda self: self.dead)
    @rule()
    def freeze(self) -> None:
        with suppress(redis.ResponseError):
            self.frozen.append(
                self.place.letters.freeze(self.dead.values(), actor="me", options=ReplayOptions(force=True))
            )

    @precondition(lambda self: self.frozen)
    @rule(limit=st.integers(1, 3))
    def step_of_a_frozen_replay(self, limit: int) -> None:
        with self.all_or_nothing():
            result = self.place.letters.replay_step(self.frozen[0], limit=limit)
            if result is None:
                self.frozen.pop(0)
                return
            for letter_id in result.replayed:
                del self.dead[letter_id.rpartition(":")[0]]

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def archive(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(self.dead)))
        with self.all_or_nothing():
            letter = self.place.letters.get(self.dead[task]).letter
            (copy,) = self.place.letters.archived([letter])
            assert self.place.letters.discard([letter.id], actor="me", action="archive", for_good=True) == (letter.id,)
            del self.dead[task]
            self.archived[task] = copy

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.dead)), min_size=1, max_size=3, unique=True))
        operation = Operation(actor="me")
        with self.all_or_nothing():
            done = self.place.letters.discard([self.dead[task] for task in chosen], actor="me", operation=operation)
            assert len(done) == len(chosen)
            self.binned[operation.id] = {task: self.dead.pop(task) for task in chosen}

    @precondition(lambda self: self.binned)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(sorted(self.binned)))
        with self.all_or_nothing():
            assert sum(self.place.letters.undo(operation, actor="me")) == len(self.binned[operation])
            self.dead.update(self.binned.pop(operation))

    @precondition(lambda self: self.archived)
    @rule(data=st.data())
    def import_back(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(self.archived)))
        letter = self.archived[task]
        with self.all_or_nothing():
            added = self.place.letters.import_batch(
                [letter, letter], Operation(actor="me"), file_digest=task, lines_before=0
            )
            # Brought back, archived and brought back again: that file was imported already.
            if added is not None:
                assert added == 1
                self.dead[task] = letter.letter.id
                del self.archived[task]

    # What always holds.

    @invariant()
    def what_is_done_is_counted_once(self) -> None:
        if hasattr(self, "client") and self.all_counted:
            assert read_totals(self.client, self.place.keys).get("r", RouteTotals()).done == self.counted

    @invariant()
    def letters_and_their_indexes_agree(self) -> None:
        if not hasattr(self, "client"):
            return
        keys, real = self.place.keys, self.place.real
        with self.client.pipeline() as pipe:
            pipe.hkeys(real(keys.dead_entries)).hkeys(real(keys.dead_raw))
            for index in (keys.dead_by_time("r"), keys.dead_by_reason("r", "failed")):
                pipe.zrange(real(index), 0, -1)
            for found in pipe.execute():
                assert set(found) == {name.encode() for name in self.dead.values()}

    @invariant()
    def each_message_is_in_exactly_one_place(self) -> None:
        if not hasattr(self, "client"):
            return
        keys, real = self.place.keys, self.place.real
        with self.client.pipeline() as pipe:
            pipe.hgetall(real(keys.unacked)).zrange(real(keys.unacked_index), 0, -1)
            for name in [self.place.list_name(queue, priority) for queue in QUEUES for priority in PRIORITIES]:
                pipe.lrange(real(keys.prefix + name), 0, -1)
                pipe.zrange(real(self.place.keys.delayed(name)), 0, -1)
            records, index, *lists = pipe.execute()
        assert set(records) == set(index)
        places = [json.dumps(json.loads(record)[0]).encode() for record in records.values()]
        places += [item for items in lists for item in items]
        there = [TaskMessage.decode(place).id for place in places]
        assert len(there) == len(set(there))
        binned = {task: (operation, letter) for operation, of in self.binned.items() for task, letter in of.items()}
        for operation, of in self.binned.items():
            assert {f"letter:{name}".encode() for name in of.values()} <= set(
                self.client.hkeys(real(keys.dead_bin(operation)))
            )
        gone = self.done | self.dead.keys() | self.archived.keys() | binned.keys()
        assert set(there) | gone == self.put_ids
        assert not set(there) & gone


def test_every_order_of_scripts_and_faults_keeps_each_message_in_one_place(redis_server: Redis) -> None:
    machine = type("OneRoomHere", (OneRoom,), {"server": redis_server})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            database=None,
            # What takes long to shrink would end by the limit of time instead of saying what is wrong.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
