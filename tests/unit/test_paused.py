"""Which routes are paused, by what somebody wrote into Redis."""

from routemq.paused import Pause, by_route, resting_queues
from routemq.routing import Router


def router() -> Router:
    made = Router()
    made.on("sensors/{device}/data", "app:a", queue="sensors")
    made.on("sensors/{device}/state", "app:a", queue="sensors")
    made.on("alerts/{id}", "app:a", name="alerts")
    return made


def test_a_pause_is_known_by_its_name_and_after_a_renaming_by_its_filter() -> None:
    written = {
        b"sensors/{id}/data": b'{"at":1.5,"filter":"sensors/+/data","who":"ana@host","why":"it lies"}',
        b"alerts": b"by hand",
        b"gone": b"[1]",
        b"\xff": b"{}",
    }
    found = by_route(written, router().routes)
    assert set(found) == {"sensors/{device}/data", "alerts", "gone", "\ufffd"}
    pause = found["sensors/{device}/data"]
    assert (pause.name, pause.at, str(pause)) == ("sensors/{id}/data", 1.5, "by ana@host (it lies)")
    assert found["alerts"] == Pause(name="alerts")


def test_what_a_pause_says_acts_on_no_terminal() -> None:
    pause = Pause.read(b"r", b'{"who":"\\u001b[2J","why":7,"at":"yesterday"}')
    assert pause == Pause(name="r", who="\\x1b[2J")


def test_a_queue_rests_when_all_of_its_routes_are_paused() -> None:
    routes = router().routes
    one, other = (Pause(name=f"sensors/{{device}}/{last}") for last in ("data", "state"))
    assert resting_queues({one.name: one}, routes) == frozenset()
    assert resting_queues({one.name: one, other.name: other}, routes) == {"sensors"}
    assert resting_queues({"alerts": one}, routes) == {"alerts"}
