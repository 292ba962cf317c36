"""The front door of Celery's commands: `celery -A routemq worker|flower|inspect|…` finds `app` here."""

import contextlib
import gc
import sys
from collections.abc import Iterator
from typing import Any

import click
from routemq_tasks.app import RouteMQCelery
from routemq_tasks.broker_settings import check_options, unused_variables
from routemq_tasks.own_tasks import load_own_tasks
from routemq_tasks.purging import expanding_queues

from routemq.discovery import load_router
from routemq.errors import ConfigurationError, RouteMQError
from routemq.settings import load_settings


def _load(context: click.Context | None) -> RouteMQCelery:
    settings = load_settings()
    if context is not None:
        check_options(context, settings.redis_url.get_secret_value())
    return RouteMQCelery(settings, load_router(settings.routers))


def _serve_command(context: click.Context, loaded: RouteMQCelery) -> None:
    """Be the app of this process, which is Celery's command."""
    # What has no app of its own, as a `shared_task`, then is ours.
    loaded.set_current()
    unused = unused_variables(loaded.settings.redis_url.get_secret_value())
    if unused is not None:
        click.echo(f"Warning: {unused}", err=True)
    # Celery loads the app before it reads the command's own words, and so before Flower reads its list of pages.
    if context.invoked_subcommand == "flower":
        from routemq_flower import install

        install()
    elif context.invoked_subcommand == "migrate":
        from routemq_tasks.upstream.migration import migrate_as

        migrate_as(loaded)
    elif context.invoked_subcommand == "purge":
        program: Any = context.command
        program.commands["purge"].params.append(expanding_queues(loaded))


@contextlib.contextmanager
def _one_line_of_error() -> Iterator[None]:
    # Celery would wrap any exception into a page of traceback. The exit codes are those of the command `routemq`.
    try:
        yield
    except RouteMQError as exc:
        click.echo(f"Error: {exc}", err=True)
        raise SystemExit(2 if isinstance(exc, ConfigurationError) else 1) from exc


def _celery_context() -> click.Context | None:
    """Return the context of the command `celery`; None when something else imports this module."""
    program = sys.modules.get("celery.bin.celery")
    context = click.get_current_context(silent=True)
    return context if program is not None and context is not None and context.command is program.celery else None


_context = _celery_context()
if _context is not None:
    # All of this stays; the collector would look through it again and again while the rest is loaded.
    gc.freeze()
with _one_line_of_error():
    app = _load(_context)
    if _context is not None:
        _serve_command(_context, app)
    # Last: these modules may import the app from here.
    load_own_tasks(app)
    if _context is not None and _context.invoked_subcommand == "flower":
        from routemq_flower import serve_health

        # It tells of the queues of those modules too.
        serve_health(app.settings, app.router, app.queues)
