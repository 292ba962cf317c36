"""`routemq health`: for a container's health check; asks the process on this host, and costs next to nothing."""

import http.client
import os
import sys
from pathlib import Path

import click

# Nothing of ours that reads the settings is imported: this runs every few seconds in every container.
_PORTS = {"ingest": "INGEST_HEALTH_PORT", "worker": "WORKER_HEALTH_PORT", "flower": "FLOWER_HEALTH_PORT"}


@click.command(short_help="Ask the process of this container whether it can do its work.")
@click.argument("what", type=click.Choice(sorted(_PORTS)), required=False)
@click.option("--port", type=click.IntRange(1, 65535), help="Instead of the …_HEALTH_PORT of the environment.")
@click.option("--live", is_flag=True, help="Ask whether it is alive, not whether it is ready.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(0.1, 60), default=3.0, show_default=True, help="Seconds.")
def health(*, what: str | None, port: int | None, live: bool, timeout_s: float) -> None:
    """Ask `/readyz`, or `/healthz` with --live, of ingest, a worker or Flower on this host.

    Without a name, the first of them whose port is set, in the environment or in `.env`. Exit code 0 when it is well,
    else 1, with its own words.
    """
    port = port or _port(what)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/healthz" if live else "/readyz")
        answer = connection.getresponse()
        words = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as exc:
        click.echo(f"no answer on port {port}: {exc}", err=True)
        sys.exit(1)
    click.echo(words)
    sys.exit(0 if answer.status == http.HTTPStatus.OK else 1)


def _port(what: str | None) -> int:
    for variable in _PORTS.values() if what is None else (_PORTS[what],):
        text = _setting(variable)
        if text:
            try:
                return int(text)
            except ValueError:
                from routemq.settings import with_service_link

                allowed = with_service_link("a whole number from 1 to 65000", text)
                raise click.UsageError(f"{variable}={text!r} is no port: {allowed}") from None
    raise click.UsageError(f"say which, or set one of {', '.join(_PORTS.values())}")


def _setting(variable: str) -> str:
    text = os.environ.get(variable, "").strip()
    path = Path(".env")
    if text or not path.is_file():
        return text
    # A container has no such file, and needs none of this.
    from routemq.env_file import read_env_file
    from routemq.errors import ConfigurationError

    try:
        return read_env_file(path, variables=_PORTS.values()).get(variable, "").strip()
    except (ConfigurationError, OSError, UnicodeDecodeError) as exc:
        raise click.UsageError(f".env cannot be read: {exc}") from None
