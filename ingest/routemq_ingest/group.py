"""Which ingest processes there are in a group, and so whether the shared routes need to be shared."""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, cast

import redis

from routemq.lifecycle.scripts import script_text
from routemq.queues import Keys
from routemq.refusals import explain
from routemq.settings import MqttShare, Settings
from routemq.text import stored_text
from routemq_ingest.errands import Errands

logger = logging.getLogger(__name__)

_AWAY = (redis.ConnectionError, redis.TimeoutError)

_ASK_S, _ASK_SOON_S = 2.0, 0.5
_HOLD_S = 8.0
_SHORTLY_S = 30.0
"""So long a process counts that has no session of its own at the MQTT broker: it leaves nothing behind."""
_SURE = 3
"""So many times in a row a process must find itself alone, once it has shared: Redis may have forgotten the others."""
_SCAN_S = 60.0
_SCAN_COUNT = 1000


_Answer = tuple[str, bool, Mapping[str, str]]
"""Who has the shared routes alone, whether the broker serves them to it, and what each other process wishes."""


class Group:
    """Decides, in each process of a group alike, whether the shared routes are subscribed to with `$share`.

    With `$share` every process has its part. Without, one process has all: its subscriptions, in the session of the
    non-shared routes, survive a restart of the MQTT broker, where those with `$share` may not. Both at once would give
    each message twice. So all look at the same list, in Redis, of who is there and what each wishes:

    - one `never`: without, for all;
    - else an `always`, or more than one process: with;
    - else, for one `auto` alone: without.

    A process that was there lately counts as long as the broker may keep its session: what is shared out to that
    session meanwhile would come twice.

    Attributes:
        plain: Whether they are subscribed to without `$share`; None while Redis has not said.
        holder: Client id of the process that has them all, None when none has.
        holder_serves: Whether the MQTT broker has granted them to it.
        trouble: Why it is not known; None when it is.
    """

    def __init__(
        self, client: "redis.Redis", keys: Keys, settings: Settings, *, client_id: str, errands: Errands
    ) -> None:
        self._client, self._keys, self._errands = client, keys, errands
        self._join = client.register_script(script_text("join_group", package=__package__))
        self._name, self._client_id = settings.mqtt_group_name, client_id
        # Who has several processes on one host means to share.
        several = settings.mqtt_share == "auto" and settings.ingest_workers > 1
        self.wish: MqttShare = "always" if several else settings.mqtt_share
        self._session_s = settings.mqtt_session_expiry_s
        self.plain: bool | None = False if self.wish == "always" else None
        self.holder: str | None = None
        self.holder_serves = False
        self.trouble: str | None = "redis has not said yet who is in the group"
        self._asking = self._told_difference = False
        self._told = (False, False)
        self._ask_at = self._scan_at = 0.0
        self._strangers: Mapping[str, str] = {}
        self._alone = 0

    def tend(self, *, has_session: bool, claims: bool, serves: bool) -> None:
        """Ask, when it is time.

        Args:
            has_session: Whether the MQTT broker may hold messages for this process, in a session of its own.
            claims: Whether this process is to have the shared routes alone, without `$share`, or has them still.
            serves: Whether the broker has granted them to it.
        """
        now, told = time.monotonic(), (claims, serves)
        if self._asking or (now < self._ask_at and told == self._told):
            return
        waits = self.plain is False and self.holder not in (None, self._client_id)
        self._asking, self._ask_at, self._told = True, now + (_ASK_SOON_S if waits else _ASK_S), told
        self._errands.ask(partial(self._ask, has_session, claims, serves), then=self._answered)

    def leave(self) -> None:
        """Count no longer: nothing is left of this process at the MQTT broker."""
        self.forget(self._client_id)

    def forget(self, client_id: str) -> None:
        """Let a process count no longer of which nothing is left at the MQTT broker."""
        gone = partial(self._run, wish="", lasts_s=0.0, claims=False, serves=False, client_id=client_id)
        self._errands.ask(gone, then=_ignore)

    def _ask(self, has_session: bool, claims: bool, serves: bool) -> _Answer:
        holder, holder_serves, others = self._run(
            wish=self.wish,
            lasts_s=self._session_s if has_session else _SHORTLY_S,
            claims=claims,
            serves=serves,
        )
        if not others and not self.plain:
            now = time.monotonic()
            if now >= self._scan_at:
                self._strangers, self._scan_at = self._scan(), now + _SCAN_S
            others = self._strangers
        return holder, holder_serves, others

    def _run(self, *, wish: str, lasts_s: float, claims: bool, serves: bool, client_id: str | None = None) -> _Answer:
        keys = self._keys
        answer = self._join(
            keys=[keys.ingest_group(self._name), keys.plain_holder(self._name)],
            args=[
                client_id or self._client_id,
                wish,
                int(lasts_s * 1000),
                int(_HOLD_S * 1000),
                int(claims),
                int(serves),
            ],
        )
        holder, holder_serves, members = cast("tuple[bytes, bytes, list[bytes]]", answer)
        names = [stored_text(member) for member in members]
        return stored_text(holder), holder_serves == b"1", dict(zip(names[::2], names[1::2], strict=True))

    def _scan(self) -> Mapping[str, str]:
        """Return whose sessions have shared subscriptions of this group, by processes that do not know this list."""
        start, found = f"$share/{self._name}/".encode(), {}
        stem = self._keys.subscriptions("")
        try:
            for key in self._client.scan_iter(match=_literally(stem) + "*", count=_SCAN_COUNT, _type="set"):
                client_id = key.decode(errors="replace").removeprefix(stem)
                members = cast("set[bytes]", self._client.smembers(key))
                if client_id != self._client_id and any(member.startswith(start) for member in members):
                    found[client_id] = "always"
        except redis.exceptions.NoPermissionError:
            return {"(redis does not let us look)": "always"}
        return found

    def _answered(self, answer: "Future[_Answer]") -> None:
        self._asking = False
        try:
            holder, self.holder_serves, others = answer.result()
        # Whatever it is, it is asked again: who is in the group must not end who takes messages.
        except Exception as exc:  # noqa: BLE001
            before = self.trouble
            self.trouble = f"redis does not say who is in the group {self._name}: {explain(exc)}"
            # As with the lease: that Redis is away is told already.
            if self.trouble != before and not isinstance(exc, _AWAY):
                logger.error("the shared routes get no messages, trying again: %s", self.trouble)
            return
        self.trouble = None
        self.holder = holder or None
        wishes = {self.wish, *others.values()}
        self._tell_difference(wishes, others)
        self._alone = self._alone + 1 if not others else 0
        if "never" in wishes:
            plain = True
        elif "always" in wishes or others:
            plain = False
        else:
            plain = self.plain is None or self.plain or self._alone >= _SURE
        if plain != self.plain:
            logger.info(
                "%s client_id=%s others=%s",
                "one process takes the shared routes, without $share" if plain else "the shared routes are shared",
                self._client_id, ", ".join(sorted(others)) or "none",
            )  # fmt: skip
        self.plain = plain

    def _tell_difference(self, wishes: set[Any], others: Mapping[str, str]) -> None:
        differs = {"always", "never"} <= wishes
        if differs and not self._told_difference:
            all_of_them = sorted({**others, self._client_id: self.wish}.items())
            listed = ", ".join(f"{name}: {wish}" for name, wish in all_of_them)
            logger.warning("MQTT_SHARE differs within the group %s, never is taken: %s", self._name, listed)
        self._told_difference = differs


def _literally(text: str) -> str:
    return "".join(f"\\{char}" if char in "*?[]\\" else char for char in text)


def _ignore(answer: "Future[Any]") -> None:
    exc = answer.exception()
    if exc is not None:
        logger.debug("the group was not left: %s", exc)
