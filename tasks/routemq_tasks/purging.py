"""`celery purge -Q sensors` means what `worker -Q sensors` does."""

import click
from click.core import ParameterSource

from routemq.errors import RouteMQError
from routemq.queues import expand_queues
from routemq_tasks.application import Application


def expanding_queues(app: Application) -> click.Option:
    """Return an option of `celery purge` that nobody gives: when the others are read, it expands `-Q` and `-X`.

    An empty `-Q`, which Celery takes for all queues, is an error: it is a shell variable that is not set.
    """

    def expand(context: click.Context, _option: click.Parameter, _value: object) -> None:
        for name in ("queues", "exclude_queues"):
            if context.get_parameter_source(name) not in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT):
                continue
            try:
                context.params[name] = expand_queues(context.params[name], app.queues)
            except RouteMQError as exc:
                raise click.ClickException(str(exc)) from exc

    return click.Option(("--expand-queues",), hidden=True, expose_value=False, callback=expand)
