"""`routemq pause` and `routemq resume`: let the messages of a route wait, and let them run again."""

import contextlib
import sys
from collections.abc import Iterable

import click

from routemq.cli.dlq.frame import actor
from routemq.cli.explain import explains_errors
from routemq.connections import connect_redis
from routemq.discovery import load_router
from routemq.errors import RouteMQError
from routemq.paused import Pause, PausedRoutes
from routemq.queues import Keys
from routemq.routing import Router
from routemq.settings import load_settings
from routemq.text import printable

_TIMEOUT_S = 5.0


class UnknownRouteNameError(RouteMQError):
    """A name is of no route."""

    def __init__(self, *, unknown: Iterable[str], known: Iterable[str]) -> None:
        self.unknown, self.known = list(unknown), list(known)
        listed = "\n".join(f"  {name}" for name in self.known) or "  none"
        super().__init__(f"there is no route {', '.join(map(repr, self.unknown))}. The routes are\n{listed}")


@click.command(short_help="Let the messages of a route wait: taken in, not run.")
@click.argument("names", metavar="ROUTE…", nargs=-1, required=True)
@click.option("--why", default="", help="A word for those who find it paused.")
@explains_errors
def pause(*, names: tuple[str, ...], why: str) -> None:
    """Pause routes, by their names as `routemq routes` shows them.

    What comes for them is taken in and waits. Workers run none of it after a second, let what runs come to its end, and
    go on with their other routes. It lasts, over restarts too, until `routemq resume`.
    """
    router, paused, _ = _open()
    unknown = [name for name in names if router.get(name) is None]
    if unknown:
        raise UnknownRouteNameError(unknown=unknown, known=[route.name for route in router.routes])
    for name in names:
        route = router.get(name)
        done = route is not None and paused.pause(route, who=actor(), why=why)
        click.echo(f"{printable(name)} is paused." if done else f"{printable(name)} was paused already.")


@click.command(short_help="Let the messages of a paused route run again.")
@click.argument("names", metavar="ROUTE…", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that are paused.")
@explains_errors
def resume(*, names: tuple[str, ...], everything: bool) -> None:
    """Resume paused routes, by their names as `routemq routes` shows them.

    What has waited is run first, the oldest first.
    """
    if bool(names) == everything:
        raise click.UsageError("name the routes, or say --all")
    router, paused, found = _open()
    known = [*(route.name for route in router.routes), *found]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UnknownRouteNameError(unknown=unknown, known=dict.fromkeys(known))
    if everything and not found:
        click.echo("No route is paused.")
    for name in names or found:
        # A release may have renamed it meanwhile.
        written = found[name].name if name in found else name
        done = paused.resume(written, who=actor())
        click.echo(f"{printable(name)} is resumed." if done else f"{printable(name)} was not paused.")


def _open() -> tuple[Router, PausedRoutes, dict[str, Pause]]:
    settings = load_settings()
    with contextlib.redirect_stdout(sys.stderr):
        router = load_router(settings.routers)
    client = connect_redis(settings, timeout_s=_TIMEOUT_S)
    click.get_current_context().call_on_close(client.close)
    paused = PausedRoutes(client, Keys(settings.key_prefix))
    return router, paused, paused.read(router.routes)
