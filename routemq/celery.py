"""The front door of Celery's commands: `celery -A routemq worker|flower|inspect|…` finds `app` here."""

import sys

import click
from routemq_tasks.app import RouteMQCelery
from routemq_tasks.broker import check_options, unused_variables

from routemq.discovery import load_router
from routemq.errors import ConfigurationError, RouteMQError
from routemq.settings import load_settings


def _load() -> RouteMQCelery:
    context = _celery_context()
    try:
        settings = load_settings()
        broker = settings.redis_url.get_secret_value()
        if context is not None:
            check_options(context, broker)
        loaded = RouteMQCelery(settings, load_router(settings.routers))
    except RouteMQError as exc:
        # Celery would wrap any exception into a page of traceback. The exit codes are those of the command `routemq`.
        click.echo(f"Error: {exc}", err=True)
        raise SystemExit(2 if isinstance(exc, ConfigurationError) else 1) from exc
    if context is not None:
        unused = unused_variables(broker)
        if unused is not None:
            click.echo(f"Warning: {unused}", err=True)
        # Celery loads the app before it runs the command, and so before Flower reads its list of pages.
        if context.invoked_subcommand == "flower":
            from routemq_flower import install

            install()
    return loaded


def _celery_context() -> click.Context | None:
    """Return the context of the command `celery`; None when something else imports this module."""
    program = sys.modules.get("celery.bin.celery")
    context = click.get_current_context(silent=True)
    return context if program is not None and context is not None and context.command is program.celery else None


app = _load()
