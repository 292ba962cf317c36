"""`routemq request`: ask a device, and print what it answers."""

import sys

import click

from routemq.cli.explain import explains_errors
from routemq.script import open_client


@click.command(short_help="Ask a device over MQTT 5, and print its answer.")
@click.argument("topic")
@click.argument("payload", default="")
@click.option("--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True)
@click.option("--qos", type=click.IntRange(0, 2), default=1, show_default=True, help="Quality of service.")
@explains_errors
def request(*, topic: str, payload: str, timeout_s: float, qos: int) -> None:
    """Publish a request to the broker of the settings, wait for its answer, and write that byte for byte.

    \b
      routemq request devices/d1/settings/get --timeout 5

    Exit code 1 without an answer in time.
    """
    with open_client() as client:
        data = payload.encode("utf-8", "surrogateescape")
        answer = client.request(topic, data, timeout_s=timeout_s, qos=qos).result()
    sys.stdout.buffer.write(answer.payload)
    if sys.stdout.isatty():
        click.echo()
