"""What Redis remembers of MQTT sessions: the topic filters that the broker has for them."""

import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from functools import partial
from typing import cast

import redis

from routemq.queues import Keys
from routemq.refusals import explain
from routemq.text import stored_text
from routemq_ingest.errands import Errands

logger = logging.getLogger(__name__)

_AWAY = (redis.ConnectionError, redis.TimeoutError)

MOST_PROCESSES = 64
"""Of one host; so far is looked for sessions that some of them left behind."""


class SessionMemory:
    """Outlives the processes: so a route that was removed is unsubscribed, and a session that is gone is missed.

    A filter is noted before it is subscribed to, and forgotten when the broker has said that it is left.

    Args:
        errands: Where Redis is asked.
    """

    def __init__(self, client: "redis.Redis", keys: Keys, errands: Errands) -> None:
        self._client, self._keys, self._errands = client, keys, errands

    def note(self, client_id: str, filters: Collection[str], *, then: Callable[[Collection[str] | None], None]) -> None:
        """Add filters to a session's; call back with those that were noted before, None when Redis cannot say."""

        def answered(answer: "Future[Collection[str]]") -> None:
            try:
                known = answer.result()
            # Whatever it is, it is asked again, and nothing is left that the broker may have.
            except Exception as exc:  # noqa: BLE001
                logger.log(
                    logging.DEBUG if isinstance(exc, _AWAY) else logging.ERROR,
                    "the filters of the mqtt session are not known client_id=%s: %s", client_id, explain(exc),
                )  # fmt: skip
                then(None)
            else:
                then(known)

        self._errands.ask(partial(self._note, self._keys.subscriptions(client_id), filters), then=answered)

    def forget(self, client_id: str, filters: Collection[str] | None = None) -> None:
        """Take out these filters, or all. Should Redis be away, the next connection leaves them once more."""
        key = self._keys.subscriptions(client_id)
        if filters is None:
            self._errands.ask(partial(self._client.delete, key), then=_ignore)
        elif filters:
            self._errands.ask(partial(self._client.srem, key, *filters), then=_ignore)

    def _note(self, key: str, filters: Collection[str]) -> Collection[str]:
        known = {stored_text(member) for member in cast("set[bytes]", self._client.smembers(key))}
        if set(filters) - known:
            self._client.sadd(key, *filters)
        return known


def _ignore(answer: "Future[int]") -> None:
    exc = answer.exception()
    if exc is not None:
        logger.debug("subscriptions not forgotten: %s", exc)


def left_behind(client: "redis.Redis", keys: Keys, *, client_id_base: str, processes: int) -> Sequence[int]:
    """Return the indexes of processes that were not drained; the MQTT broker may hold messages for them.

    Raises:
        redis.RedisError: Redis cannot say.
    """
    indexes = range(processes, MOST_PROCESSES)
    with client.pipeline(transaction=False) as pipe:
        for index in indexes:
            pipe.exists(keys.subscriptions(f"{client_id_base}-{index}"))
        found = pipe.execute()
    return [index for index, there in zip(indexes, found, strict=True) if there]
