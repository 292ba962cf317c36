"""`routemq dev`: everything on this machine, in one command."""

from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console
from routemq_dev.dev_session import DevOptions
from routemq_dev.footer import Footer
from routemq_dev.runner import DevRunner, show_banner
from routemq_dev.state import state_folder

from routemq.cli.explain import explains_errors
from routemq.settings import load_settings

_PORT = click.IntRange(1, 65535)
_DEFAULT_RATE = 50.0


@click.command(short_help="Everything on this machine, in one command.")
@click.option(
    "--simulate", "rate", type=click.FloatRange(0, min_open=True), is_flag=False, flag_value=_DEFAULT_RATE,
    metavar="[RATE]", help=f"Let a fleet publish to the sample application, {_DEFAULT_RATE:g} messages per second.",
)  # fmt: skip
@click.option("--flower/--no-flower", default=True, help="Run Flower, by default on port 5555.")
@click.option(
    "--mqtt-port", type=_PORT, help="Of the MQTT broker that is brought along; by default 1883, or a free one."
)
@click.option("--redis-port", type=_PORT, help="Of the Redis that is brought along; by default 6379, or a free one.")
@click.option("--flower-port", type=_PORT, help="By default 5555, or a free one.")
@click.option(
    "--state", type=click.Path(file_okay=False, path_type=Path), default=Path(".routemq"), show_default=True,
    help="Folder for the data of the servers that are brought along.",
)  # fmt: skip
@explains_errors
def dev(
    *,
    rate: float | None,
    flower: bool,
    mqtt_port: int | None,
    redis_port: int | None,
    flower_port: int | None,
    state: Path,
) -> None:
    """Run everything on this machine: MQTT broker, Redis, ingest, a worker per queue, Flower.

    Start it in the project's folder. A broker or Redis is brought along when MQTT_BROKER or REDIS_URL is not set:
    mosquitto and redis-server if they are on the PATH, else embedded ones. All of it listens on this machine alone.

    Code is reloaded when it changes. Ctrl-C stops everything, a second Ctrl-C kills it. Queues and dead letters are
    kept until the next start.
    """
    if find_spec("watchfiles") is None:
        raise click.UsageError("this needs what the extra dev brings: pip install 'routemq-celery[dev]'")
    settings = load_settings()
    console = Console(highlight=False)
    with state_folder(state.resolve()) as folder:
        options = DevOptions(
            project=Path.cwd(),
            state=folder,
            mqtt_port=mqtt_port,
            redis_port=redis_port,
            flower_port=flower_port,
            flower=flower,
            rate=rate,
        )
        with DevRunner(options, console, level=settings.log_level) as runner:
            runner.log.say("starting …")
            runner.session.start()
            if not runner.session.stopping.is_set():
                show_banner(console, runner.session, hint="Ctrl-C stops all of it. Code is reloaded when it changes.")
                with Footer(runner.session, console):
                    runner.follow_changes()
        runner.log.say("stopped")
