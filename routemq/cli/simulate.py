"""`routemq simulate`: a fleet of devices that publishes to the sample application's topics."""

import dataclasses
import sys

import click
import orjson
from routemq_dev.sample_fleet import SampleFleet
from routemq_dev.simulation import Progress, Simulation

from routemq.cli.explain import explains_errors
from routemq.settings import load_settings
from routemq.supervision.stop import STOP_SIGNALS, Stop


@click.command(short_help="A fleet of devices for the sample application.")
@click.option("--devices", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="How many devices.")
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=50.0,
    show_default=True,
    help="Messages per second, of all.",
)
@click.option("--for", "duration_s", type=click.FloatRange(0, min_open=True), help="Stop after so many seconds.")
@click.option("--count", type=click.IntRange(1), help="Stop after so many messages.")
@click.option(
    "--broken", "broken_share", type=click.FloatRange(0, 1), default=0.01, show_default=True,
    help="Share of the messages with a payload that fits no controller.",
)  # fmt: skip
@click.option("--seed", type=int, help="Publish the same messages again.")
@click.option("--json", "as_json", is_flag=True, help="Print progress as one JSON object a line, the last one final.")
@explains_errors
def simulate(
    *,
    devices: int,
    rate: float,
    duration_s: float | None,
    count: int | None,
    broken_share: float,
    seed: int | None,
    as_json: bool,
) -> None:
    """Publish to the sample application's topics as a fleet of devices would, with QoS 1.

    Some payloads are broken, so that dead letters can be seen. Ends with Ctrl-C, or after --for or --count; then it
    waits for the broker's last confirmations.
    """
    stop = Stop.on(*STOP_SIGNALS)
    simulation = Simulation(load_settings(), SampleFleet(devices=devices, broken_share=broken_share, seed=seed))
    simulation.connect()

    def tell(progress: Progress, *, final: bool = False) -> None:
        if as_json:
            click.echo(orjson.dumps({**dataclasses.asdict(progress), "final": final}))
        elif final or sys.stdout.isatty():
            click.echo(f"\r{_words(progress)}\033[K" if sys.stdout.isatty() else _words(progress), nl=final)

    simulation.run(rate=rate, duration_s=duration_s, count=count, stop=stop, tell=tell)
    result = simulation.finish()
    tell(result, final=True)
    if result.confirmed < result.published:
        raise click.ClickException(
            f"the MQTT broker did not confirm {result.published - result.confirmed} messages in time"
        )


def _words(progress: Progress) -> str:
    per_second = progress.published / max(progress.elapsed_s, 0.001)
    return (
        f"published {progress.published}, confirmed {progress.confirmed}, in {progress.elapsed_s:.1f} s "
        f"({per_second:.0f} messages/s)"
    )
