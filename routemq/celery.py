"""The front door of Celery's commands: `celery -A routemq worker|flower|inspect|…` finds `app` here."""

import click
from routemq_tasks.app import RouteMQCelery

from routemq.discovery import load_router
from routemq.errors import ConfigurationError, RouteMQError
from routemq.settings import load_settings


def _load() -> RouteMQCelery:
    try:
        settings = load_settings()
        loaded = RouteMQCelery(settings, load_router(settings.routers))
    except RouteMQError as exc:
        # Celery would wrap any exception into a page of traceback. The exit codes are those of the command `routemq`.
        click.echo(f"Error: {exc}", err=True)
        raise SystemExit(2 if isinstance(exc, ConfigurationError) else 1) from exc
    # Celery loads the app before it runs the command, and so before Flower reads its list of pages.
    context = click.get_current_context(silent=True)
    if context is not None and context.invoked_subcommand == "flower":
        from routemq_flower import install

        install()
    return loaded


app = _load()
