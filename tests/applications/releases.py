"""Two releases of one application: in the later one a parameter has another name, and there is one more route."""

import os

from routemq import Message, Router
from tests.applications.execution import note


def x(message: Message) -> None:
    note("x", id=message.id, params=message.params, route=message.route)


def y(message: Message) -> None:
    note("y", id=message.id, params=message.params, route=message.route)


def _release(number: int) -> Router:
    router = Router()
    router.on("a/{device_id}/x" if number == 1 else "a/{device}/x", x, queue="a")
    if number == 2:
        router.on("b/{line}/y", y, queue="a")
    return router


RELEASES = {number: _release(number) for number in (1, 2)}
router = RELEASES[int(os.environ.get("RELEASE", "1"))]
