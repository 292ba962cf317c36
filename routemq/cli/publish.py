"""`routemq publish`: one message to the MQTT broker, as a device would send it."""

import sys
import time
from typing import BinaryIO

import click
from routemq_tasks.publication import Publication
from routemq_tasks.publisher import Publisher

from routemq.cli.explain import explains_errors
from routemq.errors import PublishError
from routemq.message import PublishProperties
from routemq.settings import load_settings
from routemq.text import plural
from routemq.topics import topic_problem

_PATIENCE_S = 10.0
_NONE = PublishProperties()


@click.command(short_help="One message to the MQTT broker.")
@click.argument("topic")
@click.argument("payload", required=False)
@click.option("--file", "file", type=click.File("rb"), help="Read the payload from here; - is standard input.")
@click.option("--qos", type=click.IntRange(0, 2), default=1, show_default=True, help="Quality of service.")
@click.option("--retain", is_flag=True, help="The broker keeps it for who subscribes later; an empty one ends that.")
@click.option("--property", "pairs", multiple=True, metavar="NAME=VALUE", help="A user property; may be repeated.")
@click.option("--content-type", help="What the payload is, such as application/json.")
@click.option("--response-topic", help="Where an answer is expected.")
@click.option("--correlation-data", help="What an answer repeats.")
@click.option("--expiry", "expiry_s", type=click.IntRange(0, 2**32 - 1), help="Seconds until nobody gets it any more.")
@explains_errors
def publish(
    *, topic: str, payload: str | None, file: BinaryIO | None, qos: int, retain: bool, pairs: tuple[str, ...],
    content_type: str | None, response_topic: str | None, correlation_data: str | None, expiry_s: int | None,
) -> None:  # fmt: skip
    """Publish one message to the broker of the settings, with their user name and TLS.

    \b
      routemq publish sensors/d1/data '{"temperature": 21.5}'
      routemq publish firmware/d1 --file firmware.bin --retain
      date | routemq publish clock --file -

    Exit code 0 when the broker has confirmed it; with --qos 0 when it is written to the connection.
    """
    if (payload is None) == (file is None):
        raise click.UsageError("Give either a PAYLOAD (an empty one is '') or --file.")
    data = file.read() if file is not None else (payload or "").encode("utf-8", "surrogateescape")
    properties = PublishProperties(
        user_properties=tuple(_pair(each) for each in pairs),
        content_type=content_type,
        response_topic=response_topic,
        correlation_data=None if correlation_data is None else correlation_data.encode("utf-8", "surrogateescape"),
        expiry_s=expiry_s,
    )
    if problem := topic_problem(topic) or (response_topic is not None and topic_problem(response_topic)):
        raise PublishError(topic=topic, problem=problem)
    settings = load_settings()
    publisher = Publisher(settings)
    publication = Publication(topic, data, qos, retain, properties=properties if properties != _NONE else None)
    publisher.publish(publication)
    try:
        publisher.wait(publication, deadline=time.monotonic() + _PATIENCE_S)
    finally:
        publisher.close()
    if sys.stderr.isatty():
        click.echo(f"{plural(len(data), 'byte')} to {settings.mqtt_broker}:{settings.mqtt_port}", err=True)


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--property")
    return name, value
