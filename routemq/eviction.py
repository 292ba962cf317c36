"""Whether Redis may throw away what was acknowledged, to make room, as it does for a cache."""

import contextlib
import logging
import time

import redis

from routemq.errors import ConfigurationError, RouteMQError

logger = logging.getLogger(__name__)

_LOOK_S = 30.0
_REMIND_S = 300.0


class EvictionError(RouteMQError):
    """Redis may drop messages at any moment, without a word."""

    def __init__(self, *, policy: str) -> None:
        self.policy = policy
        super().__init__(
            f"redis may throw messages away: its maxmemory-policy is {policy}; set noeviction, or accept the loss with "
            "ROUTEMQ_ALLOW_EVICTION=true"
        )


class EvictionWatch:
    """Looks at Redis' `maxmemory-policy` before the first message is taken, and now and then; used by one thread.

    Only `allkeys-…` endangers messages: nothing that holds one ever has an expiry, which is what `volatile-…` needs. It
    is refused though no `maxmemory` is set: the policy says what is done as soon as one is.

    Args:
        allowed: The loss is accepted; then there are only words.
    """

    def __init__(self, client: "redis.Redis", *, allowed: bool) -> None:
        self._client, self._allowed = client, allowed
        self._policy: str | None = None
        self._looked_at = self._spoke_at = float("-inf")

    def start(self) -> None:
        """Look before the first message is taken.

        Raises:
            ConfigurationError: Messages are in danger.
            redis.RedisError: Redis does not answer.
        """
        try:
            self.look()
        except EvictionError as exc:
            raise ConfigurationError(
                variable="REDIS_URL",
                value=f"(a Redis with maxmemory-policy {exc.policy})",
                allowed="maxmemory-policy noeviction, for this one may throw messages away that were acknowledged; "
                "ROUTEMQ_ALLOW_EVICTION=true accepts their loss",
            ) from exc

    @property
    def is_due(self) -> bool:
        """Whether `look` would ask Redis."""
        return self._endangers or time.monotonic() >= self._looked_at + _LOOK_S

    def look(self) -> None:
        """Look again, if it is time, or if messages were in danger when it was looked last.

        Raises:
            EvictionError: Messages are in danger.
            redis.RedisError: Redis does not answer.
        """
        if not self.is_due:
            return
        now = time.monotonic()
        policy, before = _policy(self._client), self._policy
        self._looked_at, self._policy = now, policy
        if policy != before or (self._endangers and now >= self._spoke_at + _REMIND_S):
            self._spoke_at = now
            self._speak()
        if self._endangers and not self._allowed:
            raise EvictionError(policy=policy)

    @property
    def _endangers(self) -> bool:
        return self._policy is not None and self._policy.startswith("allkeys-")

    def _speak(self) -> None:
        policy = self._policy or ""
        if self._endangers:
            logger.error("MESSAGES MAY BE LOST: %s", EvictionError(policy=policy))
        elif policy.startswith("volatile-"):
            logger.warning("maxmemory-policy %s lets redis drop leases and locks, though no message", policy)
        elif not policy:
            logger.warning("redis does not show its maxmemory-policy to this user; be sure that it is noeviction")


def _policy(client: "redis.Redis") -> str:
    """Return the policy, empty when it may not be seen."""
    shown: object = None
    with contextlib.suppress(redis.exceptions.NoPermissionError):
        shown = client.info("memory").get("maxmemory_policy")
    if not shown:
        # Not for every user either, and some providers do not have it.
        with contextlib.suppress(redis.ResponseError):
            shown = client.config_get("maxmemory-policy").get("maxmemory-policy")
    return str(shown or "")
