"""A paused route is taken in and not run, by no worker, until it is resumed."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from routemq_ops.doctor import Level
from routemq_ops.doctor.fleet_checks import check_fleet

from routemq.dead_letters import DeadLetters
from routemq.discovery import load_router
from routemq.metrics.exposition import FleetMetrics
from routemq.metrics.fleet import FleetReading, QueueReading, read_fleet
from routemq.paused import PausedRoutes
from routemq.routing import Router
from routemq.settings import Settings
from tests.lifecycle import Place, Worker
from tests.processes import clean_environment, wait_until
from tests.servers import REPOSITORY, Redis
from tests.workers import POOLS, Bench

APPLICATION = "tests.applications.pausing"
SETTINGS = Settings(_env_file=None)  # type: ignore[call-arg]


class Paused(Bench):
    """A bench whose routes are paused and resumed."""

    @contextlib.contextmanager
    def _routes(self) -> Iterator[PausedRoutes]:
        with self.store.client() as client:
            yield PausedRoutes(client, self.keys)

    def pause(self, name: str) -> None:
        route = self.router.get(name)
        assert route is not None
        with self._routes() as paused:
            assert paused.pause(route, who="a test", why="to see")

    def resume(self, name: str) -> None:
        with self._routes() as paused:
            assert paused.resume(name, who="a test")

    def queue(self, name: str) -> QueueReading:
        with self.store.client() as client:
            return read_fleet(client, self.keys, queues=[name], routes=[], group="g").queues[name]

    def ids(self, what: str) -> list[str]:
        return [note["id"] for note in self.notes(what)]


def command(*arguments: str, bench: Paused) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["routemq", *arguments], cwd=REPOSITORY, env=clean_environment(bench.environment()), capture_output=True,
        encoding="utf-8", check=False,
    )  # fmt: skip


def registry(read: Callable[[], FleetReading]) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(FleetMetrics(read, wanted={}))
    return made


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Paused:
    return Paused(store=redis_server, key_prefix=key_prefix, application=APPLICATION, router=load_router(APPLICATION))


@pytest.mark.parametrize(("pool", "transport"), [*((pool, "routemq") for pool in POOLS), ("prefork", "stock")])
def test_what_a_worker_holds_is_not_run_either_and_comes_back(bench: Paused, pool: str, transport: str) -> None:
    env = {"ROUTEMQ_TRANSPORT": transport}
    with bench.worker("-Q", "alone", "-P", pool, "-c", "1", env=env) as worker:
        # The first one takes a while, and behind it the others are in the worker's hands.
        sent = [bench.put(f"alone/{number}", "4" if not number else "0").id for number in range(8)]
        bench.wait_for_notes("alone", 1)
        bench.pause("alone")
        worker.wait_for_output("route alone is paused by a test (to see)")
        wait_until(lambda: bench.queue("alone").queued == 7 and not bench.held(), message="they all wait")
        sent += [bench.put(f"alone/{number}", "0").id for number in range(8, 10)]
        worker.wait_for_output("Canceling queue alone")
        assert bench.ids("alone") == sent[:1]

        bench.resume("alone")
        bench.wait_for_notes("alone", 10)
        notes = bench.notes("alone")
        assert {note["attempt"] for note in notes} == {1}
        assert sorted(bench.ids("alone")) == sorted(sent)
        wait_until(lambda: bench.totals()["alone"].done == 10, message="each is counted once")
        assert worker.terminate() == 0
    assert not bench.letters()
    assert bench.queue("alone").queued == 0


def test_what_was_set_aside_is_in_front_of_what_came_later_in_its_order(redis_server: Redis) -> None:
    with redis_server.client() as client:
        place = Place(client)
        route = Router().on("t", "app:nothing", name="r", queue="a")
        assert PausedRoutes(client, place.keys).pause(route, who="a test")
        items = [b'{"id":"m%d"}' % number for number in range(600)]
        place.put(*items)
        worker = Worker(client, place.keys)
        while held := worker.fetch(("a",), 100, held=0).items:
            for item in held:
                assert place.moves.set_aside(item.raw, tag=item.tag, queue="a", paused_as="r")
        worker.close()
        place.put(b'{"id":"later"}')
        while place.moves.take_up("a", until=4e9):
            assert place.client.zcard(place.keys.delayed("a")) == 100
        assert place.items() == [*items, b'{"id":"later"}']


def test_another_route_of_the_same_queue_goes_on(bench: Paused) -> None:
    bench.pause("first")
    with bench.worker("-Q", "both", "-P", "threads", "-c", "2") as worker:
        for number in range(300):
            bench.put(f"both/first/{number}", "0")
        for number in range(5):
            bench.put(f"both/second/{number}", "0")
        bench.wait_for_notes("second", 5)
        wait_until(lambda: bench.queue("both").delayed == 300, message="those of the paused route are set aside")
        assert not bench.notes("first")
        assert worker.terminate() == 0
    # Nobody is there to see it resumed, while the other one is paused.
    bench.resume("first")
    bench.pause("second")
    bench.put("both/second/5", "0")
    with bench.worker("-Q", "both", "-P", "threads", "-c", "2"):
        bench.wait_for_notes("first", 300)
        wait_until(lambda: bench.queue("both").queued == 1, message="the other one waits now")
        assert len(bench.notes("second")) == 5
        assert len(set(bench.ids("first"))) == 300
        assert not bench.letters()


def test_the_commands_pause_and_resume_and_every_view_shows_it(bench: Paused) -> None:
    done = command("pause", "alone", "first", "--why", "the device lies", bench=bench)
    assert done.stdout.splitlines() == ["alone is paused.", "first is paused."]
    assert command("pause", "alone", bench=bench).stdout == "alone was paused already.\n"
    unknown = command("pause", "alon", bench=bench)
    assert unknown.returncode == 1
    assert "there is no route 'alon'. The routes are\n  alone\n  first" in unknown.stderr
    with bench.store.client() as client:
        client.hset(bench.keys.paused_routes, "gone", "{}")
        bench.put("alone/1", "0")
        fleet = read_fleet(client, bench.keys, queues=bench.router.queues, routes=bench.router.routes, group="g")
    assert fleet.resting == {"alone"}

    rows = json.loads(command("routes", "--json", bench=bench).stdout)
    assert [row["name"] for row in rows if row["paused"]] == ["alone", "first"]
    shown = command("routes", bench=bench)
    assert shown.stderr.splitlines()[0].startswith("paused: alone by ")
    assert shown.stderr.splitlines()[0].endswith("(the device lies)")
    assert [line.split()[0] for line in shown.stdout.splitlines() if line.rstrip().endswith("paused")] == [
        "alone/{device}", "both/first/{device}",
    ]  # fmt: skip
    top = json.loads(command("top", "--json", bench=bench).stdout)
    assert [route["name"] for route in top["routes"] if route["paused"]] == ["alone", "first"]
    (found,) = (each for each in check_fleet(fleet, bench.router.routes, bench.router.queues, SETTINGS)
                if each.check == "paused routes")  # fmt: skip
    assert found.level is Level.WARN
    assert "(the device lies), 1 wait on its queue" in found.text
    assert "gone, which no route here is called" in found.text
    exposed = generate_latest(registry(lambda: fleet)).decode()
    assert 'routemq_paused{route="alone"} 1.0' in exposed
    assert 'routemq_paused{route="second"} 0.0' in exposed

    assert command("resume", bench=bench).returncode == 2
    assert command("resume", "alone", bench=bench).stdout == "alone is resumed.\n"
    assert sorted(command("resume", "--all", bench=bench).stdout.splitlines()) == [
        "first is resumed.",
        "gone is resumed.",
    ]
    assert command("resume", "--all", bench=bench).stdout == "No route is paused.\n"
    with bench.store.client() as client:
        audit = [(entry.action, entry.detail) for entry in DeadLetters(client, bench.keys).audit()]
    assert audit[-1] == ("pause", "route alone: the device lies")
    assert ("resume", "route alone") in audit
    assert len(audit) == 5


def test_retries_and_replays_wait_too(bench: Paused) -> None:
    with bench.store.client() as client, bench.worker("-Q", "alone", "-P", "prefork", "-c", "1") as worker:
        bench.put("failing/1")
        bench.put("alone/1", "no number")
        (dead,) = bench.wait_for_letters(1).values()
        bench.wait_for_notes("failing", 1)
        bench.pause("failing")
        bench.pause("alone")
        worker.wait_for_output("Canceling queue alone.failing")
        assert DeadLetters(client, bench.keys).replay([dead.id], actor="a test", force=True).replayed
        wait_until(lambda: bench.queue("alone").waiting == 1 and bench.queue("alone.failing").delayed == 1)
        bench.resume("failing")
        bench.wait_for_notes("failing", 2)
        assert [note["attempt"] for note in bench.notes("failing")] == [1, 2]
        assert bench.queue("alone").waiting == 1
        bench.resume("alone")
        wait_until(lambda: not bench.queue("alone").queued)
        assert bench.totals()["alone"].replayed == 1


def test_another_applications_key_under_the_name_stops_no_worker(bench: Paused) -> None:
    with bench.store.client() as client, bench.worker("-Q", "alone", "-P", "solo") as worker:
        client.set(bench.keys.paused_routes, "theirs")
        worker.wait_for_output(f"{bench.keys.paused_routes!r} is a string where RouteMQ keeps a hash")
        bench.put("alone/1", "0")
        bench.wait_for_notes("alone", 1)
        client.delete(bench.keys.paused_routes)
        # A field that somebody wrote by hand, and one of no route.
        client.hset(bench.keys.paused_routes, mapping={"alone": b"\xff", "\x1b[31m": "{}"})
        worker.wait_for_output("Canceling queue alone")
        bench.put("alone/2", "0")
        client.delete(bench.keys.paused_routes)
        bench.wait_for_notes("alone", 2)


def test_a_renamed_route_stays_paused(bench: Paused) -> None:
    with bench.store.client() as client:
        described = '{"at":1,"filter":"alone/+","who":"ana@host","why":""}'
        client.hset(bench.keys.paused_routes, "alone/{earlier_name}", described)
    with bench.worker("-Q", "alone", "-P", "solo") as worker:
        worker.wait_for_output("route alone is paused by ana@host")
        worker.wait_for_output("Canceling queue alone")
        bench.resume("alone/{earlier_name}")
        bench.put("alone/1", "0")
        bench.wait_for_notes("alone", 1)
