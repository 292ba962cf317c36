"""`routemq asyncapi`: what the application receives and sends, as an AsyncAPI 3.0 document or a page."""

from pathlib import Path
from typing import Any

import click

from routemq.cli.explain import explains_errors
from routemq.discovery import load_router
from routemq.settings import Settings, load_settings


@click.command(short_help="The application's topics, as AsyncAPI 3.0.")
@click.option("--title", help="Name of the application; by default that of the folder.")
@click.option("--api-version", default="1.0.0", show_default=True, help="Version of the application's interface.")
@click.option("--json", "as_json", is_flag=True, help="JSON in place of YAML.")
@click.option("--html", "as_html", is_flag=True, help="A page that shows it, in one file that needs nothing else.")
@click.option("--no-server", is_flag=True, help="Do not name the MQTT broker of the settings.")
@explains_errors
def asyncapi(*, title: str | None, api_version: str, as_json: bool, as_html: bool, no_server: bool) -> None:
    """Write what the application receives and sends, from its routes, models and docstrings.

    \b
      routemq asyncapi > asyncapi.yaml
      routemq asyncapi --html > asyncapi.html
    """
    from routemq.asyncapi import asyncapi_document

    if as_json and as_html:
        raise click.UsageError("Give --json or --html, not both.")
    settings = load_settings()
    document = asyncapi_document(
        load_router(settings.routers),
        title=title or Path.cwd().name or "routemq",
        version=api_version,
        servers={} if no_server else {"mqtt": _server(settings)},
    )
    click.echo(written(document, as_json=as_json, as_html=as_html), nl=False)


def written(document: dict[str, Any], *, as_json: bool = False, as_html: bool = False) -> str:
    """Return a document as YAML, or otherwise."""
    if as_html:
        from routemq.asyncapi_page import page

        return page(document)
    from pydantic_core import from_json, to_json

    # As both say the same: a default of infinity is `null`, and a bound of any size is exact.
    text = to_json(document, indent=2, inf_nan_mode="null")
    if as_json:
        return text.decode() + "\n"
    import yaml

    document = from_json(text)
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120))


def _server(settings: Settings) -> dict[str, Any]:
    protocol = "secure-mqtt" if settings.mqtt_tls_enabled else "mqtt"
    return {"host": f"{settings.mqtt_broker}:{settings.mqtt_port}", "protocol": protocol}
