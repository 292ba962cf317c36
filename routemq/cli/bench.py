"""`routemq bench`: how fast it is on this machine."""

import json
import os
import sys
from contextlib import nullcontext

import click
from rich.console import Console
from rich.live import Live
from routemq_dev.bench.figures import Figures
from routemq_dev.bench.measuring import Plan
from routemq_dev.bench.quick_publisher import FIRST_NUMBER, payload_of
from routemq_dev.bench.run import SIDES, Bench, BenchStoppedError
from routemq_dev.bench.screen import render
from routemq_dev.bench.side import NAIVE, ROUTEMQ, WorkerShape

from routemq.batching import MOST_MESSAGES
from routemq.cli.explain import explains_errors
from routemq.supervision.stop import take_stop_signals


@click.command(short_help="How fast it is on this machine, beside a naive bridge.")
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Celery workers.")
@click.option("--pool", type=click.Choice(["solo", "threads", "prefork"]), default="solo", show_default=True)
@click.option("--concurrency", type=click.IntRange(1, 256), default=2, show_default=True, help="Of each worker.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0.2, 600), default=2.0, show_default=True,
    help="Of each of the three measurements of a round.",
)  # fmt: skip
@click.option(
    "--rate", "rate_per_s", type=click.FloatRange(1, 100_000), default=500.0, show_default=True,
    help="Messages per second at which the latency is measured; half of what a side can do, if that is less.",
)  # fmt: skip
@click.option(
    "--batch", type=click.IntRange(0, MOST_MESSAGES), default=0,
    help="Let RouteMQ's controller take so many messages at once; the peer's still takes one.",
)  # fmt: skip
@click.option("--peer/--no-peer", default=True, help="Measure the naive bridge too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@explains_errors
def bench(
    *,
    workers: int,
    pool: str,
    concurrency: int,
    rounds: int,
    seconds: float,
    rate_per_s: float,
    batch: int,
    peer: bool,
    as_json: bool,
) -> None:
    """Measure the way from a publisher to a controller that does nothing, with servers of its own.

    MQTT broker and Redis are mosquitto and redis-server from the PATH, else the embedded ones; they run on free ports
    with their data in a temporary folder. The peer is a bridge that calls apply_async from paho's on_message, and
    stock Celery workers. Exit code 1 when a message was lost, 130 after Ctrl-C.
    """
    console = Console(stderr=as_json, highlight=False)
    shape = WorkerShape(pool=pool, workers=workers, concurrency=1 if pool == "solo" else concurrency, batch=batch)
    sides = {name: Figures() for name in SIDES if peer or name != NAIVE}
    screen = Live(console=console, transient=True) if console.is_terminal else nullcontext()

    def title() -> str:
        broker = "embedded MQTT broker" if session.broker_is == "embedded" else session.broker_is
        return (
            f"{broker}, {session.redis_is} · {shape} · {os.cpu_count()} processors · "
            f"QoS 1, {len(payload_of(FIRST_NUMBER))}-byte payloads"
        )

    def tell(name: str, figures: Figures, doing: str) -> None:
        sides[name] = figures
        if live is not None:
            live.update(render(title(), sides, doing=f"{name}: {doing}"), refresh=True)

    session = Bench(
        shape=shape,
        plan=Plan(rounds=rounds, seconds=seconds, rate_per_s=rate_per_s),
        peer=peer,
        tell=tell,
    )
    take_stop_signals(lambda *_: session.stopping.set())
    try:
        with screen as live:
            session.run()
    except BenchStoppedError:
        sys.exit(130)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "mqtt_broker": session.broker_is,
                    "redis": session.redis_is,
                    "workers": workers,
                    "pool": pool,
                    "concurrency": shape.concurrency,
                    "batch": shape.batch,
                    "processors": os.cpu_count(),
                    "routemq": sides[ROUTEMQ].to_json(),
                    "naive": sides[NAIVE].to_json() if peer else None,
                },
                indent=2,
            )
        )
    else:
        console.print(render(title(), sides))
    sys.exit(1 if sides[ROUTEMQ].lost else 0)
