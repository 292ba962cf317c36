"""Routes whose controllers take many messages at once: what they are given, and what is refused."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import BaseModel

from routemq import Batch, Client, Context, Message, Middleware, Reject, Retry, Router
from routemq.batch_controllers import bind_batch
from routemq.envelope import Envelope
from routemq.errors import BindingError, InvalidMessageError, RouteError
from routemq.middleware import BatchNext, Next, build_chain
from routemq.topics import TopicTemplate
from tests.unit.test_controllers import CLIENT

TEMPLATE = TopicTemplate("lines/{line:int}/{device_id}")


class Reading(BaseModel):
    value: float


def contexts(*payloads: bytes) -> list[Context]:
    made = []
    for number, payload in enumerate(payloads):
        topic = f"lines/{number}/d{number}"
        params = TEMPLATE.match(topic) or {}
        message = Message(id=str(number), route="r", envelope=Envelope(topic=topic, payload=payload), params=params)
        made.append(Context(message=message, client=CLIENT))
    return made


def decisions(given: Sequence[Context]) -> list[type | None]:
    return [None if each.message.decision is None else type(each.message.decision) for each in given]


def test_each_list_has_one_of_each_message_in_their_order() -> None:
    seen: dict[str, Any] = {}

    def store(
        payloads: list[Reading], device_id: list[str], line, incoming: list[Message], client: Client, also: int = 7
    ) -> None:
        seen.update(payloads=payloads, device_id=device_id, line=line, ids=[each.id for each in incoming])
        seen.update(client=client, also=also)

    given = contexts(b'{"value": 1}', b'{"value": 2}')
    bind_batch(store, TEMPLATE)(given)
    assert seen == {
        "payloads": [Reading(value=1), Reading(value=2)],
        "device_id": ["d0", "d1"],
        "line": [0, 1],
        "ids": ["0", "1"],
        "client": CLIENT,
        "also": 7,
    }
    assert decisions(given) == [None, None]


def test_one_that_does_not_convert_is_decided_alone_and_not_in_the_lists() -> None:
    seen: list[Any] = []
    bound = bind_batch(lambda payloads, messages: seen.append((payloads, messages)), TEMPLATE)
    assert bound(contexts(b"1")) is None
    seen.clear()

    async def store(payloads: list[Reading], messages: list[Message]) -> None:
        seen.append((payloads, [each.id for each in messages]))

    given = contexts(b'{"value": 1}', b"secret", b'{"value": 3}')
    asyncio.run(build_chain(bind_batch(store, TEMPLATE), (), is_async=True, of_batches=True).run(given))
    assert seen == [([Reading(value=1), Reading(value=3)], ["0", "2"])]
    assert decisions(given) == [None, InvalidMessageError, None]
    # Not even with empty lists.
    assert bind_batch(store, TEMPLATE)(contexts(b"secret")) is None


def test_the_last_word_on_a_message_counts() -> None:
    (one,) = contexts(b"1")
    one.message.fail(ValueError("first"))
    one.message.retry(5, why="busy")
    decision = one.message.decision
    assert isinstance(decision, Retry)
    assert (decision.delay_s, decision.why) == (5, "busy")
    one.message.reject("never")
    assert isinstance(one.message.decision, Reject)
    with pytest.raises(TypeError, match="takes an exception, not str"):
        one.message.fail("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes an exception, not SystemExit"):
        one.message.fail(SystemExit())  # type: ignore[arg-type]


def payload(payload: Reading) -> None: ...
def message(message: Message) -> None: ...
def renamed(one: Message) -> None: ...
def scalar(device_id: str) -> None: ...
def other_collection(payloads: tuple[Reading, ...]) -> None: ...
def unknown(payloads: list[Reading], wanted: list[str]) -> None: ...
def nothing(client: Client) -> None: ...
def not_a_type(payloads: list[object()]) -> None: ...  # type: ignore[valid-type]


@pytest.mark.parametrize(
    ("controller", "problem"),
    [
        (payload, "'payload' takes one message's. Mend: name it payloads"),
        (message, "'message' takes one message's. Mend: name it messages"),
        (renamed, "'one' takes one message's. Mend: name it messages"),
        (scalar, "'device_id' is annotated str. Mend: annotate it list[str]"),
        (other_collection, "Mend: annotate it list[tests.unit.test_batches.Reading]"),
        (unknown, "'wanted' is neither in the topic"),
        (nothing, "takes nothing of the messages"),
        (not_a_type, "pydantic cannot convert"),
    ],
)
def test_a_signature_that_no_batch_fills_is_refused_where_the_route_is_made(controller: Any, problem: str) -> None:
    with pytest.raises(RouteError, match=rf"test_batches\.py:\d+: route .*{re.escape(problem)}"):
        Router().on("lines/{line:int}/{device_id}", controller, batch=Batch())


def test_a_topic_parameter_with_the_name_of_a_list_is_refused_only_where_it_is_asked_for() -> None:
    def both(payloads: list[str]) -> None: ...

    with pytest.raises(BindingError, match="name the topic's parameter otherwise"):
        bind_batch(both, TopicTemplate("of/{payloads}"))
    assert Router().on("of/{payloads}", lambda payloads: None).batch is None


@pytest.mark.parametrize("batch", [True, 500, {"max_messages": 5}, Batch])
def test_what_is_no_batch_is_refused(batch: Any) -> None:
    with pytest.raises(RouteError, match=r"Mend: use a Batch\(…\)"):
        Router().on("t", lambda messages: None, batch=batch)


@pytest.mark.parametrize(
    "options",
    [{"max_messages": 0}, {"max_messages": True}, {"max_messages": 10_001}, {"max_bytes": 1.5}, {"max_bytes": 0}]
    + [{"max_wait_s": wait_s} for wait_s in (-1, float("nan"), float("inf"), "1", None, True)],
)
def test_limits_that_mean_nothing_are_refused(options: Any) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=name):
        Batch(**options)


class Seeing(Middleware):
    """Takes batches, and lets the last of each end here."""

    def handle_batch(self, contexts: Sequence[Context], next_handler: BatchNext) -> Any:
        next_handler(contexts[:-1])
        for context in contexts:
            context.state["seen"] = len(contexts)


class Around(Middleware):
    """Is around each message."""

    def handle(self, context: Context, next_handler: Next) -> Any:
        context.state["around"] = True
        next_handler(context)


class AsyncAround(Middleware):
    """The same on the event loop."""

    async def handle(self, context: Context, next_handler: Next) -> Any:
        await next_handler(context)


def test_middleware_sees_the_batch_or_keeps_its_messages_apart() -> None:
    seen: list[list[str]] = []

    def store(device_id: list[str]) -> None:
        seen.append(device_id)

    def route(*middleware: Middleware) -> Any:
        return Router().on("lines/{line:int}/{device_id}", store, batch=Batch(), middleware=middleware)

    assert route().gathers
    assert route(Middleware(), Seeing()).gathers
    assert not route(Seeing(), Around()).gathers
    assert not Router().on("t", lambda: None).gathers

    given = contexts(b"1", b"2", b"3")
    route(Middleware(), Seeing()).chain().run(given)
    assert seen == [["d0", "d1"]]
    assert [each.state["seen"] for each in given] == [3, 3, 3]

    (one,) = contexts(b"1")
    route(Around()).chain().run([one])
    chain = route(Around(), AsyncAround()).chain()
    assert chain.is_async

    async def on_loop() -> None:
        await chain.run([one])

    asyncio.run(on_loop())
    assert one.state["around"]
    assert seen[1:] == [["d0"], ["d0"]]
