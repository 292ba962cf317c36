"""What users of kombu expect of a transport, beyond a Celery worker."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection, Consumer, Exchange, Queue
from kombu.exceptions import ChannelError

from routemq.lifecycle.moves import FetchCommand
from tests.processes import PATIENCE_S
from tests.servers import REPOSITORY, Redis
from tests.transport import Bench

PLAIN = Queue("plain", exchange=Exchange("plain", type="direct"), routing_key="plain")


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str, tmp_path: Path) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix, runs_path=tmp_path / "runs.jsonl")


@pytest.fixture
def connection(bench: Bench) -> Iterator[Connection]:
    with bench.connection() as connection:
        PLAIN(connection.default_channel).declare()
        yield connection


def publish(connection: Connection, *bodies: object, in_s: float | None = None, priority: int | None = None) -> None:
    eta = None if in_s is None else (datetime.now(UTC) + timedelta(seconds=in_s)).isoformat()
    for body in bodies:
        connection.Producer().publish(
            body, exchange=PLAIN.exchange, routing_key="plain", headers={"eta": eta}, priority=priority
        )


def size(connection: Connection) -> int:
    return int(PLAIN(connection.default_channel).queue_declare(passive=True).message_count)


def test_what_waits_for_its_time_counts_and_goes_with_its_queue(bench: Bench, connection: Connection) -> None:
    with pytest.raises(ChannelError):
        size(connection)
    publish(connection, "waits", in_s=0.5)
    assert size(connection) == 1
    publish(connection, "urgent", in_s=0.5, priority=9)
    publish(connection, "now")
    assert size(connection) == 3
    queue = PLAIN(connection.default_channel)
    queue.delete(if_empty=True)
    assert size(connection) == 3
    queue.delete()
    with pytest.raises(ChannelError):
        size(connection)
    with bench.client() as client:
        assert not list(client.scan_iter(f"{bench.key_prefix}*plain*"))


def test_queues_are_named_in_one_order_whichever_was_served_so_that_their_keys_are_made_once(
    connection: Connection,
) -> None:
    channel: Any = connection.default_channel
    command = FetchCommand(channel.keys, tag_base="t:")
    with Consumer(channel, [Queue(f"fair-{number}") for number in range(3)], accept=["json"]):
        made = []
        for queue in ("fair-0", "fair-2", "fair-1"):
            turn = channel.next_turn()
            channel.served(queue)
            made.append(
                command.arguments(
                    turn.queues, turn.priorities, in_turn=1, first=0, most=1, most_bytes=1, at_once=1, waits=False,
                    alone="first", most_due=1, told=False, marks=0, number=1,
                )
            )  # fmt: skip
    keys = [list(map(id, arguments[1 : arguments[0] + 1])) for arguments in made]
    assert keys[1:] == keys[:-1]


def test_without_a_hub_each_call_gives_one_message(connection: Connection) -> None:
    publish(connection, *range(7))
    got: list[Any] = []
    with Consumer(connection, [PLAIN], callbacks=[lambda body, message: got.append((body, message.ack()))]):
        for count in range(1, 8):
            connection.drain_events(timeout=PATIENCE_S)
            assert len(got) == count
        with pytest.raises((TimeoutError, Empty)):
            connection.drain_events(timeout=0.2)
    assert [body for body, _ in got] == list(range(7))


TAKING = """
from kombu import Connection, Consumer
from routemq_transport.transport import Transport
from tests.integration.test_transport_kombu import PLAIN

def take(body, message):
    print(body, bool(message.delivery_info.get("redelivered")), flush=True)
    if body == "bad":
        raise ValueError(body)
    message.ack()

connection = Connection(URL, transport=Transport, transport_options={"global_keyprefix": PREFIX})
with Consumer(connection, [PLAIN], callbacks=[take]):
    while True:
        connection.drain_events(timeout=60)
"""


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "left"])
def test_a_message_that_a_callback_cannot_take_comes_back_counted_at_the_back(bench: Bench, closes: bool) -> None:
    with bench.connection() as connection:
        PLAIN(connection.default_channel).declare()
        publish(connection, "bad", "good")
    code = TAKING.replace("URL", repr(bench.store.url)).replace("PREFIX", repr(bench.key_prefix))
    if closes:
        code = code.replace("with Consumer", "with connection, Consumer")
    taken: list[str] = []
    for _ in range(2):
        ended = subprocess.run(
            [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=False
        )
        # The callback's own, and none of what gives back.
        assert ended.stderr.count("Traceback") == 1
        taken += ended.stdout.splitlines()
    assert taken == ["bad False", "good False", "bad True"]
    with bench.client() as client:
        (item,) = client.zrange(f"{bench.key_prefix}routemq:delayed:plain", 0, -1)
    assert item.startswith(b'{"routemq":[2,0]')


def test_what_is_requeued_is_there_at_once(connection: Connection) -> None:
    publish(connection, "again")
    queue = PLAIN(connection.default_channel)
    queue.get().requeue()
    message = queue.get()
    assert message.payload == "again"
    assert message.delivery_info["redelivered"]
    message.ack()


def test_what_was_not_looked_at_goes_to_the_front_and_is_not_counted(bench: Bench) -> None:
    with bench.connection() as connection:
        PLAIN(connection.default_channel).declare()
        publish(connection, *range(5))
        with Consumer(connection, [PLAIN], callbacks=[lambda body, message: message.ack()]):
            connection.drain_events(timeout=PATIENCE_S)
    with bench.client() as client:
        items = client.lrange(f"{bench.key_prefix}plain", 0, -1)
    assert len(items) == 4
    assert not [item for item in items if item.startswith(b'{"routemq"')]


@pytest.mark.parametrize("acknowledges", [True, False])
def test_a_queue_that_expires_does_so_after_messages_were_given_back(bench: Bench, acknowledges: bool) -> None:
    expiring = Queue("expiring", exchange=Exchange("expiring", type="direct"), routing_key="expiring", expires=60)
    with bench.connection() as connection:
        for number in range(3):
            connection.Producer().publish(
                number, exchange=expiring.exchange, routing_key="expiring", declare=[expiring]
            )
        with Consumer(connection, [expiring], callbacks=[lambda _, message: acknowledges and message.ack()]):
            connection.drain_events(timeout=PATIENCE_S)
    with bench.client() as client:
        assert client.llen(f"{bench.key_prefix}expiring") == (2 if acknowledges else 3)
        assert 0 < client.pttl(f"{bench.key_prefix}expiring") <= 60_000


def test_a_shutdown_tells_how_much_it_gives_back(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with bench.connection() as connection:
        PLAIN(connection.default_channel).declare()
        publish(connection, *range(3))
        consumer = Consumer(connection, [PLAIN], callbacks=[lambda body, message: None])
        consumer.consume()
        connection.drain_events(timeout=PATIENCE_S)
        with caplog.at_level(logging.INFO):
            connection.close()
    assert "Restoring 3 unacknowledged message(s)" in caplog.text
    assert bench.waiting("plain") == 3


def test_acknowledgements_are_kept_also_when_they_are_not_wanted(bench: Bench) -> None:
    with bench.connection(ack_emulation=False) as connection:
        PLAIN(connection.default_channel).declare()
        publish(connection, "one")
        message = PLAIN(connection.default_channel).get()
        assert bench.held() == 1
        message.ack()
    bench.wait_until_nothing_is_held()
    bench.put("runs")
    with bench.worker("-P", "solo", ack_emulation=False):
        bench.wait_for(["runs"])
