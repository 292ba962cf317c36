"""When somebody should look. Pure: from one reading of the fleet, and the one before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from routemq.metrics.fleet import FleetReading
from routemq.settings import Settings

_NEARLY_FULL = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that should not be so.

    Attributes:
        key: The same for as long as it lasts: `waiting:sensors.data`.
        text: For a person; it holds names and numbers, nothing of any message.
    """

    key: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where a condition begins.

    Attributes:
        dead_per_minute: Dead letters a minute, of one route.
        oldest_s: Age of the message that is next on a queue.
    """

    dead_per_minute: float
    oldest_s: float

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Return those of the settings."""
        return cls(dead_per_minute=settings.alert_dead_per_minute, oldest_s=settings.alert_oldest_s)


def find_conditions(
    fleet: FleetReading, before: FleetReading | None, *, queues: Mapping[str, int], limits: Limits
) -> Iterator[Condition]:
    """Give each condition that holds now.

    Args:
        before: About a minute earlier; without it no rate is known.
        queues: Those of the application's routes.
    """
    if before is not None and fleet.at > before.at:
        yield from _dying(fleet, before, limits)
    for route in sorted(fleet.full_routes):
        yield Condition(key=f"full:{route}", text=f"the route {route} has as many dead letters as it may: not consumed")
    for queue in sorted(queues):
        reading = fleet.queues.get(queue)
        if reading is None:
            continue
        is_old = reading.oldest_at is not None and fleet.at - reading.oldest_at > limits.oldest_s
        # Whoever has paused it knows that it waits.
        if reading.oldest_at is not None and is_old and queue not in fleet.resting:
            age_s = fleet.at - reading.oldest_at
            yield Condition(
                key=f"waiting:{queue}",
                text=f"the next message of the queue {queue} has waited for {age_s:,.0f} s, "
                f"{reading.waiting:,} wait in all",
            )
        if not reading.workers:
            yield Condition(key=f"unserved:{queue}", text=f"no worker consumes the queue {queue}")
    for process in fleet.processes.live("ingest"):
        if process.problem is not None:
            yield Condition(key=f"ingest:{process.name}", text=f"ingest {process.name}: {process.problem}")
    if not fleet.processes.live("ingest"):
        yield Condition(key="ingest", text="no ingest process is there: the MQTT broker keeps what comes")
    share = fleet.server.memory_share
    if share is not None and share > _NEARLY_FULL:
        yield Condition(key="memory", text=f"redis has used {share:.0%} of its memory")


def _dying(fleet: FleetReading, before: FleetReading, limits: Limits) -> Iterator[Condition]:
    minutes = (fleet.at - before.at) / 60
    for route, now in sorted(fleet.totals.items()):
        then = before.totals.get(route)
        rate = (now.dead - (then.dead if then is not None else 0)) / minutes
        if rate > limits.dead_per_minute:
            yield Condition(key=f"dead:{route}", text=f"messages of the route {route} die: {rate:,.0f} a minute")
