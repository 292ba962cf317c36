"""The front door `routemq`: each command is imported when it is asked for."""

import click

from routemq.cli.lazy import LazyGroup

_COMMANDS = {
    "asyncapi": "routemq.cli.asyncapi_file:asyncapi",
    "bench": "routemq.cli.bench:bench",
    "dev": "routemq.cli.dev:dev",
    "doctor": "routemq.cli.doctor:doctor",
    "dlq": "routemq.cli.dlq:dlq",
    "health": "routemq.cli.health:health",
    "history": "routemq.cli.route_history:history",
    "ingest": "routemq.cli.ingest:ingest",
    "init": "routemq.cli.init:init",
    "manifests": "routemq.cli.manifests:manifests",
    "pause": "routemq.cli.pause:pause",
    "publish": "routemq.cli.publish:publish",
    "request": "routemq.cli.ask_device:request",
    "resume": "routemq.cli.pause:resume",
    "retries": "routemq.cli.retry_list:retries",
    "routes": "routemq.cli.routes:routes",
    "simulate": "routemq.cli.simulate:simulate",
    "top": "routemq.cli.top:top",
    "up": "routemq.cli.up:up",
}


@click.group(cls=LazyGroup, targets=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="routemq-celery", prog_name="routemq")
def main() -> None:
    """MQTT messages in, Celery tasks out, nothing lost.

    Workers and Flower are Celery's own commands: `celery -A routemq worker -Q …`, `celery -A routemq flower`.
    """
