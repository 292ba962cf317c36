"""Values that middleware gives to controllers by name: checked when the route is made, given when it is run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Protocol

import pytest

from routemq import Batch, Context, Message, Middleware, Router
from routemq.envelope import Envelope
from routemq.errors import NamedValueError, RouteError
from routemq.named_values import fits


class Store:
    """What an application keeps things in."""


class FastStore(Store):
    """A better one."""


class Writes(Protocol):
    def write(self) -> None: ...


class Stores(Middleware):
    provides = {"store": FastStore}  # noqa: RUF012  as users write it

    def handle(self, context: Context, next_handler: Callable[[Context], Any]) -> Any:
        context.provide("store", FastStore())
        return next_handler(context)


class AsyncStores(Stores):
    async def handle(self, context: Context, next_handler: Callable[[Context], Any]) -> Any:
        context.provide("store", FastStore())
        return await next_handler(context)


class Forgetful(Stores):
    def handle(self, context: Context, next_handler: Callable[[Context], Any]) -> Any:
        return next_handler(context)


def context() -> Context:
    envelope = Envelope(topic="a/7", payload=b"{}")
    return Context(message=Message(id="1", route="a", envelope=envelope, params={"number": "7"}), client=None)  # type: ignore[arg-type]


def by_type(number: int, store: Store) -> tuple[int, str]:
    return number, type(store).__name__


def by_name(number: int, store) -> tuple[int, str]:  # type: ignore[no-untyped-def]
    return number, type(store).__name__


def with_a_default(number: int, store: Store | None = None) -> tuple[int, str]:
    return number, type(store).__name__


@pytest.mark.parametrize("controller", [by_type, by_name, with_a_default])
def test_a_controller_has_what_its_middleware_provides(controller: Callable[..., Any]) -> None:
    route = Router().on("a/{number:int}", controller, middleware=[Stores()])
    assert route.chain().run(context()) == (7, "FastStore")
    # An edited payload is checked without running anything that could provide it.
    route.bound().check(context())


def test_a_batch_has_it_once() -> None:
    def store_all(number: list[int], store: Store) -> Any:
        return number, type(store).__name__

    class Batches(Stores):
        def handle_batch(self, contexts: Sequence[Context], next_handler: Any) -> Any:
            for each in contexts:
                each.provide("store", FastStore())
            return next_handler(contexts)

    route = Router().on("a/{number:int}", store_all, middleware=[Batches()], batch=Batch())
    assert route.chain().run([context(), context()]) == ([7, 7], "FastStore")


def test_what_was_promised_and_not_provided_is_told_with_the_mend() -> None:
    route = Router().on("a/{number:int}", by_type, middleware=[Forgetful()])
    with pytest.raises(NamedValueError, match=r"^Forgetful says that it provides 'store', and has not\. Mend: cont"):
        route.chain().run(context())


def asks_for_another_name(number: int, database: Store) -> None:
    """Nothing."""


def asks_for_another_type(number: int, store: int) -> None:
    """Nothing."""


def provides(values: object) -> Middleware:
    return type("Odd", (Middleware,), {"provides": values})()


@pytest.mark.parametrize(
    ("controller", "link", "problem"),
    [
        (
            asks_for_another_name,
            Stores(),
            "the parameter 'database' is neither in the topic 'a/{number:int}' nor given",
        ),
        (asks_for_another_type, Stores(), "the parameter 'store' asks for int, and Stores provides "),
        (by_type, Middleware(), "the parameter 'store' is neither in the topic"),
        ("no.such:controller", provides({"number": int}), "Odd provides 'number', which is the message's own"),
        ("no.such:controller", provides({"payload": int}), "Odd provides 'payload', which is the message's own"),
        ("no.such:controller", provides({"two words": int}), "Odd provides 'two words'"),
        ("no.such:controller", provides({3: int}), "Odd provides 3"),
        ("no.such:controller", provides(["store"]), "Odd.provides is ['store']"),
    ],
)
def test_a_route_that_could_not_be_served_is_not_made(controller: Any, link: Middleware, problem: str) -> None:
    with pytest.raises(RouteError) as raised:
        Router().on("a/{number:int}", controller, middleware=[link])
    assert problem in str(raised.value)
    assert str(raised.value).startswith("tests/unit/test_named_values.py:")


@pytest.mark.parametrize(
    ("promise", "asked", "may"),
    [
        (FastStore, Store, True),
        (Store, FastStore, False),
        (Store, Any, True),
        (Any, Store, True),
        (Store, object, True),
        (Store, Store | None, True),
        (Store | None, Store, False),
        (Store | None, Store | None, True),
        (FastStore, Annotated[Store, "the fast one"], True),
        (dict[str, int], Mapping[str, int], True),
        (dict[str, int], list[int], False),
        (list, list[int], True),
        (Iterator[int], Store, False),
        # In doubt it may.
        (Store, Writes, True),
        ("Store", Store, True),
        (Callable[[], int], Callable[[], str], True),
    ],
)
def test_a_type_may_be_given_where_another_is_asked_for(promise: Any, asked: Any, may: bool) -> None:
    assert fits(promise, asked) is may
