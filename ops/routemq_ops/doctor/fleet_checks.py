"""Checks of the fleet: who is there, who serves what, and how they differ."""

from collections.abc import Iterator, Mapping, Sequence

from routemq.metrics.fleet import FleetReading
from routemq.metrics.presence import ProcessReport
from routemq.route import Route
from routemq.settings import Settings
from routemq.text import plural
from routemq_ops.doctor.finding import Finding, failed, passed, warned

_CLOCKS_S = 2.0
_OLD_S = 300.0
_UNEVEN = 3.0
_ENOUGH_TO_COMPARE = 100
_MIB = 2**20


def check_fleet(
    fleet: FleetReading, routes: Sequence[Route], queues: Mapping[str, int], settings: Settings
) -> Iterator[Finding]:
    """Look at the processes and at what waits for them.

    Args:
        queues: Queue → the concurrency that its routes ask for.
    """
    ingest, workers = fleet.processes.live("ingest"), fleet.processes.live("worker")
    yield _ingest(ingest, routes)
    yield _groups(ingest, settings)
    yield from _even(ingest)
    yield from _queues(fleet, queues)
    yield _paused(fleet, routes)
    yield _idle_workers(workers, queues)
    yield _namesakes([*ingest, *workers])
    yield _versions([*ingest, *workers])
    yield _clocks([*ingest, *workers])
    yield _lost(fleet)
    yield _dead(fleet)
    yield _memory([*ingest, *workers])


def _ingest(ingest: Sequence[ProcessReport], routes: Sequence[Route]) -> Finding:
    if not ingest:
        return failed("ingest", "no ingest process is there: the MQTT broker keeps what comes", "routemq ingest")
    stuck = [f"{process.name}: {process.problem}" for process in ingest if process.problem]
    if stuck:
        return failed("ingest", "; ".join(stuck), "its log says more")
    if any(not route.shared for route in routes) and not any(process.details.get("holds") for process in ingest):
        return warned("ingest", "nobody holds the non-shared routes now", "it takes some seconds after a crash")
    return passed("ingest", f"{plural(len(ingest), 'process takes', 'processes take')} messages")


def _groups(ingest: Sequence[ProcessReport], settings: Settings) -> Finding:
    groups = sorted({process.group for process in ingest} | {settings.mqtt_group_name})
    if len(groups) > 1:
        return warned(
            "groups", f"several MQTT_GROUP_NAME: {', '.join(groups)}; each gets every message",
            "the same group everywhere, unless two fleets are meant to get everything; then another ROUTEMQ_KEY_PREFIX",
        )  # fmt: skip
    return passed("groups", f"one group, {groups[0]}")


def _even(ingest: Sequence[ProcessReport]) -> Iterator[Finding]:
    counts = {process.name: int(process.details.get("received", 0)) for process in ingest}
    if any(process.details.get("takes_all") for process in ingest):
        return  # without shared subscriptions: the others stand by
    if len(counts) < 2 or sum(counts.values()) < _ENOUGH_TO_COMPARE:
        return
    if max(counts.values()) > _UNEVEN * max(1, min(counts.values())):
        listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        yield warned(
            "distribution", f"ingest processes get very different shares: {listed}",
            "one that is younger catches up; otherwise see the broker's share strategy",
        )  # fmt: skip
    else:
        yield passed("distribution", "the broker shares evenly")


def _queues(fleet: FleetReading, queues: Mapping[str, int]) -> Iterator[Finding]:
    unserved = [name for name in queues if not fleet.queues[name].workers]
    if unserved:
        yield failed(
            "workers", f"no worker consumes: {', '.join(unserved)}",
            f"celery -A routemq worker -Q {','.join(unserved)}",
        )  # fmt: skip
    ill = [
        f"{worker.name}: {worker.problem}" for worker in fleet.processes.live("worker") if worker.problem is not None
    ]
    if ill:
        yield failed("workers", "; ".join(ill), "its log says more")
    short = [
        f"{name} has {fleet.queues[name].concurrency} of {wanted}"
        for name, wanted in queues.items()
        if fleet.queues[name].workers and _reachable(fleet, name) < wanted
    ]
    if short:
        yield warned("workers", f"less concurrency than worker_count says: {', '.join(short)}", "start another worker")
    if not (unserved or ill or short):
        yield passed(
            "workers", f"{plural(len(queues), 'queue has', 'queues have')} a worker with the wanted concurrency"
        )
    old = [
        f"{name} {fleet.at - reading.oldest_at:,.0f} s"
        for name, reading in fleet.queues.items()
        if name not in fleet.resting and reading.oldest_at is not None and fleet.at - reading.oldest_at > _OLD_S
    ]
    if old:
        yield warned("waiting", f"messages wait long: {', '.join(old)}", "start more workers, or see why they are slow")
    else:
        yield passed(
            "waiting",
            plural(sum(reading.waiting for reading in fleet.queues.values()), "message waits", "messages wait"),
        )


def _reachable(fleet: FleetReading, queue: str) -> int:
    """Return how many hands a queue has, or would have if its workers that scale grew as they may."""
    workers = fleet.processes.serving(queue)
    return sum(max(worker.hands, worker.details.get("most") or 0) for worker in workers)


def _paused(fleet: FleetReading, routes: Sequence[Route]) -> Finding:
    if not fleet.paused:
        return passed("paused routes", "none")
    queues = {route.name: route.queue for route in routes}
    told = []
    for name, pause in sorted(fleet.paused.items()):
        since = "" if pause.at is None else f" for {max(0.0, fleet.at - pause.at):,.0f} s"
        waiting = fleet.queues[queues[name]].queued if name in queues else None
        rest = ", which no route here is called" if waiting is None else f", {waiting:,} wait on its queue"
        told.append(f"{name}{since} {pause}".rstrip() + rest)
    return warned("paused routes", "; ".join(told), "routemq resume ROUTE, when they are to run again")


def _idle_workers(workers: Sequence[ProcessReport], queues: Mapping[str, int]) -> Finding:
    idle = [worker.name for worker in workers if not set(worker.queues) & set(queues)]
    if idle:
        return warned(
            "workers without queues", f"they consume no queue of this application: {', '.join(idle)}",
            "the same ROUTEMQ_ROUTERS and release everywhere; celery -A routemq control add_consumer",
        )  # fmt: skip
    return passed("workers without queues", "none")


def _namesakes(processes: Sequence[ProcessReport]) -> Finding:
    found = [
        f"{process.name} is process {process.pid} on {process.host}, and {process.details['namesake']}"
        for process in processes
        if process.details.get("namesake")
    ]
    if found:
        return failed(
            "names", "; ".join(found),
            "end one of them, or give each a name: MQTT_CLIENT_ID=auto for ingest, -n for a worker",
        )  # fmt: skip
    return passed("names", "each process has one of its own")


def _versions(processes: Sequence[ProcessReport]) -> Finding:
    versions = sorted({process.version for process in processes})
    if len(versions) > 1:
        return warned("versions", f"several releases run: {', '.join(versions)}", "let the upgrade come to its end")
    return passed("versions", versions[0] if versions else "nobody is there")


def _clocks(processes: Sequence[ProcessReport]) -> Finding:
    off = {process.host: process.clock_ahead_s for process in processes if abs(process.clock_ahead_s) > _CLOCKS_S}
    if off:
        listed = ", ".join(f"{host} {ahead_s:+.1f} s" for host, ahead_s in sorted(off.items()))
        return warned(
            "clocks", f"not as Redis' host has it: {listed}", "run NTP on every host; ages are wrong meanwhile"
        )
    return passed("clocks", f"all within {_CLOCKS_S:g} s of Redis' host")


def _lost(fleet: FleetReading) -> Finding:
    lost = [f"{report.kind} {report.name}" for report in fleet.processes.lost()]
    if lost:
        return warned(
            "lost processes", f"ended, or stand still, without a goodbye in the last day: {', '.join(lost)}",
            "what they held comes back by itself; see why they died",
        )  # fmt: skip
    return passed("lost processes", "none in the last day")


def _dead(fleet: FleetReading) -> Finding:
    if fleet.full_routes:
        return failed(
            "dead letters", f"full, so not consumed: {', '.join(sorted(fleet.full_routes))}",
            "routemq dlq stats; then replay, discard or purge",
        )  # fmt: skip
    count = sum(reading.count for reading in fleet.dead.values())
    if count:
        return warned("dead letters", f"{count:,} wait for a decision", "routemq dlq stats")
    return passed("dead letters", "none")


def _memory(processes: Sequence[ProcessReport]) -> Finding:
    if not processes:
        return passed("memory", "nobody is there")
    largest = max(processes, key=lambda process: process.memory_bytes)
    total = sum(process.memory_bytes for process in processes)
    return passed(
        "memory", f"{total / _MIB:,.0f} MiB in all, most: {largest.name} {largest.memory_bytes / _MIB:,.0f} MiB"
    )
