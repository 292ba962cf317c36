"""Routes: what is declared, what is refused, and where the error points."""

import enum
from typing import Any, cast

import pytest

from routemq import Context, Middleware, RetryPolicy, Route, Router
from routemq.errors import RouteError
from routemq.route import RouteOptions
from routemq.routing import overlapping


def handle() -> None:
    """A controller that wants nothing."""


class Named(Middleware):
    """Leaves its name in the context."""

    def __init__(self, name: str) -> None:
        self.name = name

    def handle(self, context: Context, next_handler: Any) -> Any:
        return next_handler(context)


def test_route_has_the_documented_defaults() -> None:
    route = Router().on("sensors/{device_id}/data", handle)
    assert (route.name, route.template.filter) == ("sensors/{device_id}/data", "sensors/+/data")
    assert (route.qos, route.shared, route.worker_count, route.queue) == (1, False, 1, "sensors.data")
    assert (route.middleware, route.retry, route.timeout_s) == ((), RetryPolicy(), None)
    assert route.controller == f"{__name__}:handle"


def test_members_of_enumerations_are_the_text_that_they_stand_for() -> None:
    class Texts(str, enum.Enum):  # noqa: UP042  a StrEnum is its value everywhere
        TOPIC, NAME, QUEUE = "a/{b}", "name", "queue"

    route = Router().on(Texts.TOPIC, lambda b: None, name=Texts.NAME, queue=Texts.QUEUE)
    unnamed = Router().on(Texts.TOPIC, lambda b: None)
    assert f"{route.template.text} {route.name} {route.queue} {unnamed.name}" == "a/{b} name queue a/{b}"


def test_options_that_are_none_are_the_defaults() -> None:
    route = Router().on("a/b", handle, queue=None, name=None, middleware=None, retry=None, timeout_s=None)
    assert (route.name, route.queue, route.middleware, route.retry) == ("a/b", "a.b", (), RetryPolicy())
    is_debug = False
    assert Router().on("a/b", handle, middleware=is_debug and [Named("x")]).middleware == ()


def test_worker_counts_of_one_queue_add_up() -> None:
    router = Router()
    router.on("a/{x}", handle, worker_count=3)
    router.on("a/{x}/b", handle, worker_count=2, queue="a")
    router.on("c", handle)
    assert router.queues == {"a": 5, "c": 1}


def test_groups_put_prefix_and_middleware_before_a_route() -> None:
    router = Router()
    outer, inner, own = Named("outer"), Named("inner"), Named("own")
    with router.group(prefix="plants/{plant}/", middleware=[outer]) as plant:
        plant.on("state", handle)
        with plant.group("lines/{line:int}", [inner]) as lines:
            lines.on("state", handle, middleware=[own])
            lines.on("", handle)
    assert [route.template.text for route in router.routes] == [
        "plants/{plant}/state",
        "plants/{plant}/lines/{line:int}/state",
        "plants/{plant}/lines/{line:int}",
    ]
    assert [route.middleware for route in router.routes] == [(outer,), (outer, inner, own), (outer, inner)]


def test_a_leading_slash_is_part_of_the_topic() -> None:
    router = Router()
    assert router.group("/plants").on("a", handle).template.filter == "/plants/a"
    assert router.on("/a", handle).template.filter == "/a"


def here(offset: int) -> str:
    """`file:line` of the caller, as an error names it."""
    import inspect

    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return f":{frame.f_back.f_lineno + offset}: "


@pytest.mark.parametrize(
    ("topic", "options", "problem", "mend"),
    [
        ("a/{x}/{x}", {}, "appears twice", "correct the topic"),
        ("a", {"qos": 2}, "qos=2", "use 0 or 1"),
        ("a", {"worker_count": 0}, "worker_count=0", "a whole number from 1"),
        ("a", {"worker_count": "3"}, "worker_count='3'", "a whole number from 1"),
        ("a", {"timeout_s": 0}, "timeout_s=0", "a positive number of seconds"),
        ("a", {"timeout_s": "5"}, "timeout_s='5'", "a positive number of seconds"),
        ("a", {"timeout_s": float("nan")}, "timeout_s=nan", "a positive number of seconds"),
        ("a", {"retry": 3}, "retry=3", "use a RetryPolicy"),
        ("a", {"shared": "yes"}, "shared='yes'", "use True or False"),
        ("a", {"queue": "a,b"}, "the queue name 'a,b'", "another queue="),
        ("unacked/{x}", {}, "'unacked' is that of another Redis key", "another queue="),
        ("a", {"middleware": [Named]}, "is no Middleware", "an instance of a subclass"),
        ("a", {"middleware": Named("x")}, "middleware=<", "write a list"),
        ("a", {"middleware": print}, "middleware=<", "write a list"),
        ("a", {"qos": True}, "qos=True", "use 0 or 1"),
        ("a", {"worker_count": True}, "worker_count=True", "a whole number from 1"),
        ("a", {"queue": 5}, "queue=5", "another queue="),
        ("a", {"name": 5}, "name=5", "text that can be printed"),
        ("a", {"name": "half \ud800"}, "name='half \\ud800'", "text that can be printed"),
        ("a", {"workers": 3}, "there is no option workers=", "worker_count="),
    ],
)
def test_impossible_route_names_file_line_route_and_mend(
    topic: str, options: RouteOptions, problem: str, mend: str
) -> None:
    with pytest.raises(RouteError) as caught:
        Router().on(topic, handle, **options)
    error = caught.value
    assert error.source.endswith(f"tests/unit/test_routing.py{here(-2).rstrip(': ')}")
    assert error.route == topic
    assert problem in error.problem
    assert mend in error.mend
    assert str(error).startswith(f"{error.source}: route {topic!r}: ")


def test_what_is_no_topic_or_no_controller_is_told() -> None:
    topic, controller = cast("str", 5), cast("Any", None)
    with pytest.raises(RouteError, match="a topic is text, not int"):
        Router().on(topic, handle)
    with pytest.raises(RouteError, match="it is not callable"):
        Router().on("a", controller)


def test_error_of_a_route_in_a_group_points_to_its_own_line() -> None:
    with pytest.raises(RouteError) as caught:
        Router().group("a").on("b", handle, qos=3)
    assert here(-1) in str(caught.value)


def test_two_routes_with_one_name_are_refused_and_both_places_named() -> None:
    router = Router()
    first = router.on("a", handle, name="readings")
    with pytest.raises(RouteError, match="the name is taken") as caught:
        router.on("b", handle, name="readings")
    assert first.source in caught.value.problem
    assert here(-2) in str(caught.value)
    assert router.routes == (first,)


@pytest.mark.parametrize("again", ["lines/{line}/state", "lines/{other:int}/state", "lines/+/state"])
def test_one_filter_twice_is_refused(again: str) -> None:
    router = Router()
    router.on("lines/{line}/state", handle)
    with pytest.raises(RouteError, match=r"already subscribes to 'lines/\+/state'"):
        router.on(again, handle)


def test_one_filter_shared_and_not_shared_are_two_subscriptions() -> None:
    router = Router()
    router.on("a/{x}", handle)
    router.on("a/{x}", handle, shared=True, name="shared")
    assert len(router.routes) == 2


def test_overlapping_routes_are_allowed_and_told() -> None:
    router = Router()
    one, two, _ = router.on("a/{x}", handle), router.on("a/#", handle), router.on("b", handle)
    assert list(overlapping(router.routes)) == [(one, two)]


def test_router_is_included_once_however_often_it_is_met() -> None:
    part, whole = Router(), Router()
    route = part.on("a", handle)
    whole.include(part)
    whole.include(part)
    assert whole.routes == (route,)
    assert whole.get("a") is route
    assert whole.get("b") is None


def test_clash_between_two_files_is_refused() -> None:
    one, two = Router(), Router()
    one.on("a", handle)
    two.on("a", handle)
    whole = Router()
    whole.include(one)
    with pytest.raises(RouteError, match="already subscribes"):
        whole.include(two)


def test_controller_that_cannot_be_bound_is_refused_where_it_is_declared() -> None:
    def wants_more(device: str) -> None: ...

    with pytest.raises(RouteError) as caught:
        Router().on("a/{device_id}", wants_more)
    assert here(-1) in str(caught.value)
    assert "'device' is neither in the topic 'a/{device_id}' nor given" in caught.value.problem
    assert "name it one of device_id, payload, message, client" in caught.value.mend


@pytest.mark.parametrize(
    ("controller", "problem"),
    [
        ("no_such_module_at_all:handle", "importing it failed: ModuleNotFoundError"),
        (f"{__name__}:nothing", "has no 'nothing'"),
        (f"{__name__}:Named.handle", "a method without its instance"),
        (f"{__name__}:__name__", "not callable"),
        ("handle", "not of the form"),
    ],
)
def test_controller_given_by_name_is_looked_up_only_when_it_is_to_run(controller: str, problem: str) -> None:
    route: Route = Router().on("a", controller)
    assert route.controller == controller
    with pytest.raises(RouteError, match="Mend: ") as caught:
        route.chain()
    assert problem in caught.value.problem
    assert caught.value.source == route.source


def test_controller_given_by_name_runs() -> None:
    assert Router().on("a", f"{__name__}:handle").chain().is_async is False


@pytest.mark.parametrize(
    ("name", "topic", "queue", "found"),
    [
        ("a/{device}/x", "a/d1/x", "a", "a/{device}/x"),
        # The parameter had another name, or none, or a converter.
        ("a/{device_id}/x", "a/d1/x", "a", "a/{device}/x"),
        ("a/+/x", "a/d1/x", "a", "a/{device}/x"),
        ("a/{device:int}/x", "a/7/x", "a", "a/{device}/x"),
        # Another filter: that route, which is not here, had a copy of its own.
        ("a/special/x", "a/special/x", "a", None),
        ("a/{rest:path}", "a/d1/x", "a", None),
        # A name that tells no filter.
        ("readings", "a/d1/x", "a", "a/{device}/x"),
        ("readings", "both/d1", "a", None),
        ("readings", "c/d1", "c", "named"),
        # The route of this name has another topic now.
        ("named", "a/d1/x", "a", "a/{device}/x"),
        ("named", "nowhere", "a", None),
        # What is on another route's queue is not ours, unless the queue is nobody's.
        ("a/{device_id}/x", "a/d1/x", "c", None),
        ("a/{device_id}/x", "a/d1/x", "nobody's", "a/{device}/x"),
        ("a/{{", "a/d1/x", "a", "a/{device}/x"),
    ],
)
def test_a_queued_message_finds_its_route_by_its_topic(name: str, topic: str, queue: str, found: str | None) -> None:
    router = Router()
    router.on("a/{device}/x", handle, queue="a")
    router.on("both/{one}", handle, queue="a")
    router.on("both/{rest:path}", handle, queue="a")
    router.on("c/{device}", handle, queue="c", name="named")
    route = router.find(name, topic=topic, queue=queue)
    assert (route and route.name) == found
