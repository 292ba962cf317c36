"""What other workers held that are gone: put back by whoever is there, when Redis' clock can be believed."""

import logging
from collections.abc import Callable

import redis

from routemq.lifecycle.moves import LeaseTimes, Moves
from routemq.lifecycle.scripts import KeyReports, UnusableKeyError
from routemq.logs import say
from routemq_transport.holding.clock import SteadyClock

logger = logging.getLogger(__name__)


class Rescue:
    """Looks at all leases, now and then, in one thread.

    Args:
        times: See `LeaseTimes`.
        restore_other: Routes a message that a worker of Celery's own transport lost; by its tag.
        clock: Redis'.
    """

    def __init__(
        self,
        client: "redis.Redis",
        moves: Moves,
        times: LeaseTimes,
        *,
        restore_other: Callable[[str], None],
        clock: SteadyClock,
    ) -> None:
        self._client, self._moves, self._times = client, moves, times
        self._restore_other, self._clock = restore_other, clock
        self._reports = KeyReports()

    def look(self) -> None:
        """Restore what was lost; until the clock can be believed, only look at the clock.

        Raises:
            redis.RedisError: Redis is away, or refuses.
        """
        if self._clock.believed_in_s:
            seconds, microseconds = self._client.time()
            self._note_time(float(seconds) + microseconds / 1e6)
            return
        restored = self._moves.restore(self._times, latest=self._clock.latest)
        self._note_time(restored.now)
        if restored.count:
            say(logger, logging.WARNING, "restored %d messages of a worker that is gone", restored.count)
        for tag in restored.others:
            try:
                self._restore_other(tag)
            except UnusableKeyError as exc:
                # There are others behind it.
                self._reports.log(exc)

    def _note_time(self, redis_at: float) -> None:
        if not self._clock.saw(redis_at):
            say(
                logger,
                logging.WARNING,
                "redis' clock has jumped, or redis was away for long: no lease is taken for lost in the next %g s",
                self._clock.believed_in_s,
            )
