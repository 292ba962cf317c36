"""Two groups each get every message; two fleets with prefixes of their own on one Redis know nothing of each other."""

import json
from dataclasses import replace

from routemq.alerts.conditions import Limits, find_conditions
from routemq.dead_letters import DeadLetters
from routemq.discovery import load_router
from routemq.metrics.fleet import FleetReading, read_fleet
from routemq.paused import PausedRoutes
from routemq.queues import Keys
from routemq.routing import Router
from tests.flower import request, serving
from tests.ingest import CONTROLLER, ingesting, settings_for
from tests.processes import wait_until
from tests.servers import Redis, Stack
from tests.workers import Bench

APPLICATION = "tests.applications.pausing"


def test_two_groups_each_get_every_message(stack: Stack, key_prefix: str, group_name: str, topic_prefix: str) -> None:
    router = Router()
    router.on(f"{topic_prefix}/shared/{{d}}", CONTROLLER, queue="shared", shared=True)
    router.on(f"{topic_prefix}/alone/{{d}}", CONTROLLER, queue="alone")
    fleets = {f"{group_name}-{place}": f"{key_prefix}{place}:" for place in ("east", "west")}
    (east, first), (west, second) = fleets.items()
    with (
        ingesting(settings_for(stack, key_prefix=first, group=east), router),
        ingesting(settings_for(stack, key_prefix=second, group=west), router),
        stack.store.client() as client,
    ):
        keys = [Keys(prefix) for prefix in fleets.values()]
        wait_until(
            lambda: all(
                (found := read_fleet(client, each, queues=[], routes=[], group=group)).lease_holder
                and all(report.problem is None for report in found.processes.live("ingest"))
                and found.processes.live("ingest")
                for each, group in zip(keys, fleets, strict=True)
            ),
            message="both are ready",
        )
        for number in range(20):
            stack.broker.publish(f"{topic_prefix}/shared/{number}", str(number))
            stack.broker.publish(f"{topic_prefix}/alone/{number}", str(number))
        for each in keys:
            for queue in ("shared", "alone"):
                wait_until(
                    lambda each=each, queue=queue: client.llen(each.queue(queue)) == 20,  # type: ignore[misc]
                    message=f"all of {queue} under {each.prefix}",
                )


def fleet(bench: Bench) -> FleetReading:
    with bench.store.client() as client:
        return read_fleet(client, bench.keys, queues=bench.router.queues, routes=bench.router.routes, group="routemq")


def test_two_fleets_on_one_redis_know_nothing_of_each_other(redis_server: Redis, key_prefix: str) -> None:
    east = Bench(
        store=redis_server, key_prefix=f"{key_prefix}east:", application=APPLICATION, router=load_router(APPLICATION)
    )
    west = replace(east, key_prefix=f"{key_prefix}west:")
    alone = east.router.get("alone")
    assert alone is not None
    with (
        redis_server.client() as client,
        east.worker("-Q", "alone", "-P", "threads", "-n", "east@here", "-E") as worker,
        west.worker("-Q", "alone", "-P", "threads", "-n", "west@here", "-E"),
    ):
        for bench in (east, west):
            wait_until(lambda bench=bench: fleet(bench).processes.live("worker"))  # type: ignore[misc]
        PausedRoutes(client, east.keys).pause(alone, who="a test")
        worker.wait_for_output("Canceling queue alone")
        # What cannot be run is a dead letter of its fleet alone.
        west.put("alone/1", "no number")
        west.put("alone/2", "0")
        west.wait_for_letters(1)
        west.wait_for_notes("alone", 1)
        wait_until(lambda: not west.held())
        east.put("alone/3", "0")
        here, there = fleet(east), fleet(west)
        assert [report.name for report in here.processes.live("worker")] == ["east@here"]
        assert [report.name for report in there.processes.live("worker")] == ["west@here"]
        assert (set(here.paused), set(there.paused)) == ({"alone"}, set())
        assert here.queues["alone"].queued == 1
        assert (here.dead["alone"].count, there.dead["alone"].count) == (0, 1)
        assert (there.totals["alone"].done, there.totals["alone"].dead) == (1, 1)
        assert "alone" not in here.totals
        assert not east.letters()
        limits = Limits(dead_per_minute=0, oldest_s=3600)
        before = replace(there, at=there.at - 60, totals={})
        told = {each.key for each in find_conditions(there, before, queues={"alone": 1}, limits=limits)}
        assert told == {"dead:alone", "ingest"}
        quiet = {each.key for each in find_conditions(here, replace(here, at=here.at - 60, totals={}),
                                                      queues={"alone": 1}, limits=limits)}  # fmt: skip
        assert quiet == {"ingest"}
        # What Celery sends around stays within a fleet, too.
        answered = json.loads(east.celery("inspect", "ping", "--json", "--timeout", "5").stdout)
        assert list(answered) == ["east@here"]
        for bench, name, letters in ((east, "east@here", 0), (west, "west@here", 1)):
            assert len(DeadLetters(client, bench.keys).audit()) == int(bench is east)
            environment = {"ROUTEMQ_ROUTERS": APPLICATION, "FLOWER_UNAUTHENTICATED_API": "true"}
            with serving(redis_server, env=environment, key_prefix=bench.key_prefix) as flower:
                _, found = request(f"{flower.url}/api/routes")
                (row,) = [row for row in found["routes"] if row["name"] == "alone"]
                assert (row["paused"] is not None, row["dead_letters"]) == (bench is east, letters)
                assert [worker["name"] for worker in found["workers"]] == [name]
