"""A message and its PUBACK stay together, from the socket to Redis' word."""

import logging
from typing import Any

import pytest
from routemq_ingest.batch import MAX_BYTES, MAX_MESSAGES, OpenBatch
from routemq_ingest.packets import Publish
from routemq_ingest.reception import Reception
from routemq_ingest.remains import Remains
from routemq_ingest.subscriptions import Subscription, Subscriptions

from routemq import Router
from routemq.settings import Settings

ONE: Any = "one connection"
TWO: Any = "another"


def batch_of(*sizes: int) -> OpenBatch:
    batch = OpenBatch()
    for mid, size in enumerate(sizes):
        batch.add(("r", "q", b"x" * size, None, ONE, mid))
    return batch


def test_only_what_is_settled_is_acknowledged_in_the_order_of_arrival() -> None:
    batch = OpenBatch()
    for mid, connection in enumerate((ONE, TWO, None, ONE, TWO)):
        batch.add(("r", "q", b"item", None, connection, mid))
    assert batch.settle(0) == {}
    assert batch.settle(3) == {ONE: [0], TWO: [1]}
    assert len(batch) == 2
    assert batch.settle(2) == {ONE: [3], TWO: [4]}
    assert not batch


@pytest.mark.parametrize(
    ("sizes", "heads"),
    [
        ([1] * 3, [3]),
        ([1] * (MAX_MESSAGES + 1), [MAX_MESSAGES, 1]),
        ([10, MAX_BYTES + 1, 10, 10], [1, 1, 2]),
        ([MAX_BYTES, 1], [1, 1]),
        ([MAX_BYTES * 3], [1]),
    ],
)
def test_a_large_message_goes_to_redis_alone(sizes: list[int], heads: list[int]) -> None:
    batch, found = batch_of(*sizes), []
    while batch:
        found.append(len(batch.head()))
        batch.settle(found[-1])
    assert found == heads


def test_a_full_batch_has_room_again_when_a_part_is_settled() -> None:
    batch = batch_of(*[1] * 2 * MAX_MESSAGES)
    assert not batch.has_room
    batch.settle(1)
    assert batch.has_room
    batch = batch_of(2 * MAX_BYTES, 1)
    assert not batch.has_room
    batch.settle(1)
    assert batch.has_room


class Takes:
    """A reception with one route, and the batch it fills."""

    def __init__(self) -> None:
        router = Router()
        router.on("t/{d}", "nowhere:C.m", shared=True, queue="q", name="r")
        self.batch = OpenBatch()
        subscriptions = Subscriptions(router.routes, group="g", show_payloads=False)
        self.subscription: Subscription = subscriptions.shared[0]
        self.reception = Reception(
            subscriptions, self.batch, max_payload_bytes=100, show_payloads=False, worker="w",
            remains=Remains(Settings(_env_file=None), worker="w"),  # type: ignore[call-arg]
        )  # fmt: skip

    def take(self, mid: int) -> None:
        identifiers = (self.subscription.identifier,)
        self.reception.accept(ONE, Publish(b"t/1", b"payload", qos=1, mid=mid, identifiers=identifiers))


def test_an_exception_about_one_message_is_a_letter_and_the_next_one_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    takes = Takes()

    def fail(*_: object, **__: object) -> bytes:
        raise RuntimeError("it cannot be encoded")

    with monkeypatch.context() as patch:
        patch.setattr(takes.subscription.encoder, "encode", fail)
        takes.take(1)
    takes.take(2)
    (route, queue, item, letter, _, _), (_, _, _, none, _, _) = takes.batch.head()
    assert letter is not None
    assert (route, queue, letter.reason, letter.payload_bytes, none) == ("r", "q", "malformed", 7, None)
    assert b"payload" in item
    assert "it cannot be encoded" in letter.message
    assert takes.batch.settle(2) == {ONE: [1, 2]}
    assert "it cannot be encoded" in caplog.text


def test_what_cannot_even_be_buried_is_not_acknowledged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    takes = Takes()

    def fail(*_: object, **__: object) -> bytes:
        raise RuntimeError("nothing works")

    with monkeypatch.context() as patch:
        for name in ("encode", "message"):
            patch.setattr(takes.subscription.encoder, name, fail)
        takes.take(1)
    takes.take(2)
    assert takes.batch.settle(len(takes.batch)) == {ONE: [2]}
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
