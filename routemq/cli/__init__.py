"""The front door `routemq`: each command is imported when it is asked for."""

import importlib
from typing import Any

import click

_COMMANDS = {
    "bench": "routemq.cli.bench:bench",
    "dev": "routemq.cli.dev:dev",
    "dlq": "routemq.cli.dlq:dlq",
    "ingest": "routemq.cli.ingest:ingest",
    "routes": "routemq.cli.routes:routes",
    "simulate": "routemq.cli.simulate:simulate",
}


class _LazyGroup(click.Group):
    def list_commands(self, _ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        target = _COMMANDS.get(name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command: Any = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{target} is no click command")
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="routemq-celery", prog_name="routemq")
def main() -> None:
    """MQTT messages in, Celery tasks out, nothing lost.

    Workers and Flower are Celery's own commands: `celery -A routemq worker -Q …`, `celery -A routemq flower`.
    """
