"""Of how many routes a history is kept: of all that the application has ever had would be without bounds."""

from collections.abc import Collection
from typing import cast

import redis

from routemq.errors import RouteMQError
from routemq.lifecycle.scripts import script_text
from routemq.queues import Keys
from routemq.text import stored_text

MOST_ROUTES = 250
"""Some 100 MB of Redis, if each of them is busy all the time."""

_IDLE_S = 86_400
_KEPT_S = 32 * 86_400
_ROOM = script_text("history_room", package="routemq.metrics")
_SHOWN = 3


class NoHistoryRoomError(RouteMQError):
    """The history of some routes is not kept, because that of so many others is."""

    def __init__(self, *, routes: Collection[str], most: int) -> None:
        self.routes, self.most = frozenset(routes), most
        shown = ", ".join(sorted(self.routes)[:_SHOWN])
        more = f" and {len(self.routes) - _SHOWN:,} more" if len(self.routes) > _SHOWN else ""
        super().__init__(
            f"no history is kept of {shown}{more}: it is kept of {most:,} routes, and a further one has to wait until "
            "one of them has done nothing for a day"
        )


def find_room(
    client: "redis.Redis", keys: Keys, routes: Collection[str], *, at: float, most: int = MOST_ROUTES
) -> tuple[frozenset[str], frozenset[str]]:
    """Return those of some routes for which there is no room, and routes that have made room for others.

    Raises:
        redis.RedisError: Redis cannot be asked, or refuses.
    """
    if not routes:
        return frozenset(), frozenset()
    found = client.eval(_ROOM, 1, keys.history_routes, f"{at:.3f}", str(most), str(_IDLE_S), str(_KEPT_S), *routes)
    left_out, ended = (frozenset(map(stored_text, names)) for names in cast("list[list[bytes]]", found))
    return left_out, ended
