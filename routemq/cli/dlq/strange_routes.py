"""Letters that this release of the application would not run: a replay of them deserves a warning."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from routemq.cli.dlq.session import say
from routemq.dead_letters import DeadLetter, DeadLetters, LetterFilter
from routemq.discovery import load_router
from routemq.errors import RouteMQError
from routemq.routing import Router
from routemq.settings import load_settings
from routemq.text import printable

_SHOWN = 5


def warn_of_strange_routes(letters: Iterable[DeadLetter], *, to_queue: str | None) -> None:
    """Say which of these letters' routes this release does not know; without an application here, nothing."""
    settings = load_settings()
    try:
        router = load_router(settings.routers)
    except RouteMQError:
        return
    names = sorted({letter.route for letter in letters if _is_strange(router, letter, to_queue)})
    if names:
        more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
        shown = ", ".join(printable(name) for name in names[:_SHOWN])
        say(
            f"Warning: this release has no route for letters of {shown}{more}. Replayed, they wait for workers of a "
            f"release that has one, and are dead again after {settings.unknown_route_wait_s:,} s."
        )


def one_of_each_route(store: DeadLetters, chosen: LetterFilter) -> Iterator[DeadLetter]:
    """Yield one letter of each route among those that match an indexed filter."""
    for route in store.routes() if chosen.route is None else [chosen.route]:
        yield from store.page(replace(chosen, route=route), limit=1).letters


def _is_strange(router: Router, letter: DeadLetter, to_queue: str | None) -> bool:
    # Of what was no message there is no topic, and it is not replayed.
    return (
        letter.topic is not None
        and router.find(letter.route, topic=letter.topic, queue=to_queue or letter.queue) is None
    )
