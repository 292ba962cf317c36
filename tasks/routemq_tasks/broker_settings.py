"""The broker of our processes is REDIS_URL, whatever else Celery's environment and command line name."""

import os
import re
from collections.abc import Sequence
from typing import Any

import click
from celery.app.utils import Settings as CelerySettings
from celery.loaders.app import AppLoader
from click.core import ParameterSource

from routemq.errors import RouteMQError

_OWN = ("broker_", "result_")
"""The namespaces of Celery's settings that say where messages and results are."""

_OPTIONS = {"broker": "--broker", "result_backend": "--result-backend", "config": "--config", "loader": "--loader"}
"""Options of the command `celery` that would move the broker or the result backend, or read what would."""

_VARIABLES = (
    "CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_BROKER", "BROKER_URL",
    "CELERY_RESULT_BACKEND", "RESULT_BACKEND",
    "CELERY_CONFIG_MODULE", "CELERY_CONFIG", "CONFIG_MODULE",
    "CELERY_LOADER", "LOADER",
)  # fmt: skip
"""What Celery reads of the same."""


class OtherBrokerError(RouteMQError):
    """Somebody names a broker, a result backend or a source of Celery's settings that is not RouteMQ's.

    Attributes:
        source: The option or setting.
        value: What it says; without its password when it is shown.
        broker: RouteMQ's own.
    """

    def __init__(self, *, source: str, value: str, broker: str) -> None:
        self.source, self.value, self.broker = source, value, broker
        super().__init__(
            f"{source} {place(value)} cannot be used: RouteMQ's broker is REDIS_URL, {place(broker)}, without a result "
            "backend, and its processes must agree; set REDIS_URL, and Celery's other settings as app.conf in a module "
            "of your own"
        )


class BrokerSettings(CelerySettings):
    """Celery's settings, in which the environment names neither broker nor result backend."""

    @classmethod
    def of(cls, settings: Any) -> "BrokerSettings":
        """Take the place of an app's settings, which are loaded by now."""
        made = cls({})
        made.swap_with(settings.finalize())
        return made

    @property
    def broker_url(self) -> Any:
        return self["broker_url"]

    broker_read_url = broker_write_url = broker_url

    @property
    def result_backend(self) -> Any:
        return self["result_backend"]


class Loader(AppLoader):
    """Celery's loader, for which the environment names no module of settings."""

    def read_configuration(self, env: str = "") -> None:
        """Return nothing: the settings are RouteMQ's, and what the application's modules set."""


def check_settings(names: Sequence[str], broker: str) -> None:
    """Look at settings that were given on a command line, as `broker.url=…`.

    Raises:
        OtherBrokerError: One says where messages or results are.
    """
    for text in names:
        name, _, value = text.partition("=")
        if name.lower().replace(".", "_").startswith(_OWN):
            raise OtherBrokerError(source=name, value=value, broker=broker)


def check_options(context: click.Context, broker: str) -> None:
    """Look at the options of the command `celery`.

    Raises:
        OtherBrokerError: One was given that moves the broker, or the result backend, or could.
    """
    for name, option in _OPTIONS.items():
        value = context.params.get(name)
        if value and value != broker and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise OtherBrokerError(source=option, value=str(value), broker=broker)


def unused_variables(broker: str) -> str | None:
    """Return one line on what the environment says to Celery and we do not hear; None when it says nothing else."""
    found = {name: os.environ.get(name) for name in _VARIABLES}
    said = [f"{name}={place(value)}" for name, value in found.items() if value and value != broker]
    return f"not used: {', '.join(said)}; RouteMQ's broker is REDIS_URL, {place(broker)}" if said else None


def place(url: str) -> str:
    """Return a URL without user and password, wherever those end; what is no URL as it is."""
    found = re.fullmatch(r"([\w+.-]+://)(?:.*@)?([^?#]*).*", url, re.DOTALL)
    return url if found is None else f"{found[1]}{found[2]}"
