"""Subscription identifiers belong to filters, whatever else the application has."""

from routemq_ingest.subscriptions import Subscriptions

from routemq import Router


def identifiers(*topics: str, shared: bool = True) -> dict[str, int]:
    router = Router()
    for topic in topics:
        router.on(topic, "nowhere:Controller.method", shared=shared)
    made = Subscriptions(router.routes, group="g", show_payloads=False)
    assert all(made.by_identifier[each.identifier] is each for each in (*made.shared, *made.plain, *made.own))
    return {each.filter: each.identifier for each in (*made.shared, *made.own)}


def test_an_identifier_stays_when_routes_come_go_and_move() -> None:
    before = identifiers("a/{x}", "b/#")
    after = identifiers("c", "b/#", "a/{renamed}", "d")
    assert {topic_filter: after[topic_filter] for topic_filter in before} == before
    assert len(set(after.values())) == 4


def test_identifiers_are_what_mqtt_allows() -> None:
    numbers = identifiers(*(f"t/{number}" for number in range(2000))).values()
    assert len(set(numbers)) == 2000
    assert all(1 <= number <= 0x0FFFFFFF for number in numbers)


def test_a_shared_and_a_plain_subscription_differ() -> None:
    assert identifiers("a").keys() == {"$share/g/a"}
    assert identifiers("a", shared=False).keys() == {"a"}
    assert set(identifiers("a").values()).isdisjoint(identifiers("a", shared=False).values())


def test_without_an_identifier_a_message_is_for_every_route_of_its_topic() -> None:
    router = Router()
    for topic in ("a/{x}", "a/#", "b"):
        router.on(topic, "nowhere:Controller.method", shared=True)
    made = Subscriptions(router.routes, group="g", show_payloads=False)
    assert [each.filter for each in made.for_topic("a/1", made.shared)] == ["$share/g/a/+", "$share/g/a/#"]
    assert [each.filter for each in made.for_topic("a/1", made.plain)] == ["a/+", "a/#"]
    # What still waits in a session that is subscribed to nothing any more.
    assert [each.route_name for each in made.for_topic("a/1", ())] == ["a/{x}", "a/#"]


def test_a_route_is_known_by_either_form_of_its_filter() -> None:
    router = Router()
    router.on("a", "nowhere:Controller.method", shared=True)
    made = Subscriptions(router.routes, group="g", show_payloads=False)
    ((shared,), (plain,)) = made.shared, made.plain
    assert (shared.filter, plain.filter) == ("$share/g/a", "a")
    assert made.by_identifier[shared.identifier].route is made.by_identifier[plain.identifier].route
    assert made.twins is None


def test_a_shared_and_a_non_shared_route_of_one_filter_are_told() -> None:
    router = Router()
    router.on("a/{x}", "nowhere:Controller.method", shared=True, name="all")
    router.on("a/{y}", "nowhere:Controller.method", name="one")
    twins = Subscriptions(router.routes, group="g", show_payloads=False).twins
    assert twins is not None
    assert [route.name for route in twins] == ["all", "one"]
