"""How many messages a worker runs at once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from routemq.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """A fixed number, or a range.

    Attributes:
        count: Pool slots to start with.
        autoscale: The greatest and the least number, as Celery orders them, or None.
    """

    count: int
    autoscale: tuple[int, int] | None = None


def choose_concurrency(
    settings: Settings, queues: Mapping[str, int], consumed: Collection[str], *, can_scale: bool
) -> Concurrency:
    """Return the concurrency of a worker that was given none by hand.

    Args:
        settings: `WORKER_AUTO_SCALE` comes before `WORKER_COUNT`, and that before the routes.
        queues: Each queue with the sum of its routes' `worker_count`.
        consumed: The worker's queues.
        can_scale: Whether its pool can grow and shrink; one that cannot gets the greatest number at once.
    """
    if settings.worker_auto_scale:
        return within(settings.worker_max_count, settings.worker_min_count, can_scale=can_scale)
    if settings.worker_count is not None:
        return Concurrency(count=settings.worker_count)
    return Concurrency(count=max(1, sum(queues[queue] for queue in consumed)))


def within(most: int, least: int, *, can_scale: bool) -> Concurrency:
    """Return the concurrency of a worker that is to scale, as far as its pool can.

    The least is one: `--autoscale=10` leaves it at zero, where nothing is ever seen to run that would say what is
    needed.
    """
    most, least = max(1, most), max(1, least)
    return Concurrency(count=least, autoscale=(most, least)) if can_scale else Concurrency(count=most)
