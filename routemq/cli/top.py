"""`routemq top`: the fleet, live."""

import json
import time
from collections.abc import Callable
from functools import partial

import click
import redis
from rich.console import Console
from rich.live import Live
from rich.text import Text
from routemq_ops.fleet_view import FleetView

from routemq.cli.explain import explains_errors
from routemq.connections import connect_redis
from routemq.discovery import load_router
from routemq.metrics.fleet import FleetReading, read_fleet
from routemq.queues import Keys
from routemq.refusals import explain
from routemq.routing import Router
from routemq.settings import Settings, load_settings


@click.command(short_help="The fleet, live: routes, rates, what waits, latency, processes.")
@click.option("--every", "every_s", type=click.FloatRange(0.2, 60), default=1.0, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="Show it once, with the rates of one interval, and end.")
@click.option("--json", "as_json", is_flag=True, help="Like --once, as one JSON object.")
@explains_errors
def top(*, every_s: float, once: bool, as_json: bool) -> None:
    """Show every route with its rates, what waits and since when, dead letters and latency, and every process.

    The latency is from the receipt of a message to the end of its controller, of the last seconds. Ctrl-C ends it.
    """
    settings = load_settings()
    router = load_router(settings.routers)
    view = FleetView(router.routes)
    console = Console(highlight=False)
    with connect_redis(settings, timeout_s=2.0) as client:
        read = partial(_read, client, settings, router)
        view.add(read())
        if not (once or as_json):
            _follow(console, view, read, every_s)
            return
        time.sleep(every_s)
        view.add(read())
        if as_json:
            click.echo(json.dumps(view.to_json()))
        else:
            console.print(view.render(console.width))


def _follow(console: Console, view: FleetView, read: Callable[[], FleetReading], every_s: float) -> None:
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        shown = view.render(console.width)
        try:
            while True:
                live.update(shown, refresh=True)
                time.sleep(every_s)
                try:
                    view.add(read())
                    shown = view.render(console.width)
                except redis.RedisError as exc:
                    # Nothing of what was: it would look like what is.
                    shown = Text(f"{explain(exc)}; trying again", "red")
        except KeyboardInterrupt:
            return


def _read(client: "redis.Redis", settings: Settings, router: Router) -> FleetReading:
    return read_fleet(
        client, Keys(settings.key_prefix), queues=router.queues, routes=router.routes, group=settings.mqtt_group_name
    )
