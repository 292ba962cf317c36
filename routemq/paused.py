"""Which routes are paused: what comes for them is taken in, and not run until somebody resumes them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson
import redis

from routemq.dead_letters.letter import new_id
from routemq.lifecycle.moves import Change, Moves
from routemq.queues import Keys
from routemq.route import Route
from routemq.text import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """One route's.

    Attributes:
        name: Of the route as it was paused; a release may have renamed it since.
        filter: Its topic filter, by which it is known then; empty of what was written by hand.
        at: Since when, Unix seconds by Redis' clock; None of what was written by hand.
        who: Who asked, such as `ana@host` or `flower:ana`.
        why: In their own words.
    """

    name: str
    filter: str = ""
    at: float | None = None
    who: str = ""
    why: str = ""

    @classmethod
    def read(cls, name: bytes, description: bytes) -> "Pause":
        """Read a field of the hash; whatever it holds, the route is paused."""
        found = _fields(description)
        at = found.get("at")
        texts = {key: printable(found[key]) for key in ("filter", "who", "why") if isinstance(found.get(key), str)}
        return cls(name=name.decode(errors="replace"), at=at if isinstance(at, (int, float)) else None, **texts)

    def __str__(self) -> str:
        return " ".join(filter(None, [self.who and f"by {self.who}", self.why and f"({self.why})"]))


class PausedRoutes:
    """The pauses of a fleet."""

    def __init__(self, client: "redis.Redis", keys: Keys) -> None:
        self._client, self._keys = client, keys
        self._moves = Moves(client, keys)

    def read(self, routes: Iterable[Route]) -> dict[str, Pause]:
        """Return the paused routes; see `by_route`.

        Raises:
            redis.ResponseError: The key is another program's, or this user may not read it.
            redis.RedisError: Redis cannot be read.
        """
        return by_route(cast("dict[bytes, bytes]", self._client.hgetall(self._keys.paused_routes)), routes)

    def pause(self, route: Route, *, who: str, why: str = "") -> bool:
        """Pause a route; False when it is paused already.

        Raises:
            UnusableKeyError: The key is another program's.
            redis.RedisError: Redis is away, or refuses.
        """
        description = {"filter": route.template.filter, "who": printable(who), "why": printable(why)}
        return self._change(route.name, orjson.dumps(description), who=who, why=why)

    def resume(self, name: str, *, who: str) -> bool:
        """Resume what is paused under this name; False when nothing is.

        Workers put back what they had set aside, in front of what came later.

        Raises:
            UnusableKeyError: The key is another program's.
            redis.RedisError: Redis is away, or refuses.
        """
        return self._change(name, None, who=who)

    def _change(self, name: str, description: bytes | None, *, who: str, why: str = "") -> bool:
        detail = f"route {name}" + (f": {why}" if why else "")
        change = Change(who=printable(who), operation=new_id(), detail=printable(detail))
        return self._moves.pause(name, description, change)


def by_route(found: Mapping[bytes, bytes], routes: Iterable[Route]) -> dict[str, Pause]:
    """Return the pauses by the name that their routes have now; one of no route here by its own.

    Args:
        found: The hash, as Redis has it.
    """
    pauses = {pause.name: pause for pause in (Pause.read(name, text) for name, text in found.items())}
    known = {route.name: route for route in routes}
    strange = {pause.filter: pause for name, pause in pauses.items() if name not in known and pause.filter}
    paused = dict(pauses)
    for route in known.values():
        renamed = strange.get(route.template.filter)
        if route.name not in pauses and renamed is not None:
            paused[route.name] = renamed
            paused.pop(renamed.name, None)
    return paused


def resting_queues(paused: Mapping[str, Pause], routes: Iterable[Route]) -> frozenset[str]:
    """Return the queues all of whose routes are paused."""
    queues: dict[str, bool] = {}
    for route in routes:
        queues[route.queue] = queues.get(route.queue, True) and route.name in paused
    return frozenset(queue for queue, rests in queues.items() if rests)


def _fields(description: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(description)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
