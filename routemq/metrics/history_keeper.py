"""Keeps the history of a fleet's routes: each process lends a thread to it."""

import logging
import threading
from collections.abc import Sequence
from typing import Any

import redis

from routemq.lifecycle.scripts import KeyReports, UnusableKeyError
from routemq.metrics.histogram import difference
from routemq.metrics.history import LOOK_EVERY_S, Times, add_counts, add_times
from routemq.metrics.history_room import NoHistoryRoomError
from routemq.metrics.timings import Timings
from routemq.queues import Keys
from routemq.refusals import explain
from routemq.text import error_line

logger = logging.getLogger(__name__)

_GOODBYE_S = 2.0


class HistoryKeeper(threading.Thread):
    """Writes every five seconds what this worker's runs took, and what the fleet's totals have grown by.

    Every worker and every ingest process has one, so that somebody looks whatever else is gone. Nothing depends on it:
    what Redis does not take is missing in the history, and nowhere else.

    Args:
        client: Of this thread's own.
        timings: Of a worker.
    """

    def __init__(self, client: "redis.Redis", keys: Keys, timings: Timings | None = None) -> None:
        super().__init__(name="routemq-history", daemon=True)
        self._client, self._keys = client, keys
        self._timings = timings or Timings()
        self._written: dict[str, tuple[list[int], list[int]]] = {}
        self._stopped = threading.Event()
        self._reports = KeyReports()
        self._is_refused = False
        self._left_out: frozenset[str] = frozenset()

    def run(self) -> None:
        # At once: what was counted before the first look of all belongs to no minute.
        while True:
            self._try()
            if self._stopped.wait(LOOK_EVERY_S):
                break
        self._try()

    def stop(self) -> None:
        """Write the rest; returns when it is written, or cannot be."""
        self._stopped.set()
        if self.ident is not None:
            self.join(_GOODBYE_S)

    def write(self) -> None:
        """Write once.

        Raises:
            redis.RedisError: Redis is away, or refuses.
        """
        seconds, microseconds = self._client.time()
        at = seconds + microseconds / 1_000_000
        times = self._new_times()
        if times:
            # Before they are sent: an answer that does not come leaves open whether they were added.
            self._remember(times)
            self._look_at(add_times(self._client, self._keys, times, at=at))
        self._look_at(add_counts(self._client, self._keys, at=at))

    def _try(self) -> None:
        try:
            self.write()
        except UnusableKeyError as exc:
            self._reports.log(exc)
        except redis.ResponseError as exc:
            self._warn(explain(exc))
        # That Redis is away others say.
        except redis.RedisError as exc:
            logger.debug("the history of routes is not written: %s", error_line(exc))
        # A chart is not worth a worker's end, but whoever looks at one should know.
        except Exception as exc:  # noqa: BLE001
            self._warn(error_line(exc))
        else:
            self._is_refused = False

    def _warn(self, why: str) -> None:
        """Say once, until it is written again, that it is not."""
        if not self._is_refused:
            logger.warning("the history of routes is not kept: %s", why)
        self._is_refused = True

    def _new_times(self) -> Times:
        found = {}
        for route, timings in list(self._timings.routes.items()):
            run, wait = self._written.get(route, ([], []))
            new = difference([*timings.run.counts], run), difference([*timings.wait.counts], wait)
            if any(new[0]) or any(new[1]):
                found[route] = new
        return found

    def _remember(self, times: Times) -> None:
        for route, new in times.items():
            run, wait = self._written.get(route, ([0] * len(new[0]), [0] * len(new[1])))
            self._written[route] = _sum(run, new[0]), _sum(wait, new[1])

    def _look_at(self, answers: Sequence[Any]) -> None:
        """Report another program's key, and want of room; raise what else was refused."""
        refused = None
        for answer in answers:
            if isinstance(answer, UnusableKeyError):
                self._reports.log(answer)
            elif isinstance(answer, NoHistoryRoomError):
                # Once of each: which routes have room does not change from day to day.
                if not answer.routes <= self._left_out:
                    logger.warning("%s", answer)
                    self._left_out |= answer.routes
            elif isinstance(answer, Exception):
                refused = answer
        if refused is not None:
            raise refused


def _sum(first: Sequence[int], second: Sequence[int]) -> list[int]:
    return [one + other for one, other in zip(first, second, strict=True)]
