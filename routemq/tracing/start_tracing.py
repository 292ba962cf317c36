"""Whether this process makes traces. Nothing of OpenTelemetry is imported where nobody wants any."""

import logging
import os
import sys
import threading
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routemq.env_file import read_env_file
from routemq.text import error_line

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

logger = logging.getLogger(__name__)

INGEST, WORKER = "routemq-ingest", "routemq-worker"
"""Names of the services, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` has another."""

FLUSH_S = 2.0
"""So long a process that ends waits for its last spans to be sent."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PREFIX = "OTEL_"


def start_tracing(service: str) -> "TracerProvider | None":
    """Return where this process' spans go; None when nobody wants any.

    It is the provider that the application, or `opentelemetry-instrument`, has set; else one of our own, made when the
    environment, or `.env`, names an endpoint. A child of the pool has its parent's.

    Args:
        service: The service's name, unless the environment has one.
    """
    try:
        _take_env_file()
        if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return None
        found = _provider_in_use()
        if found is not None or not _names_an_endpoint(os.environ):
            return found
        # Not in the base installation.
        if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
            _say("OTEL_EXPORTER_OTLP_ENDPOINT is set: for traces, pip install 'routemq-celery[otel]'")
            return None
        from routemq.tracing.tracer_provider import make_provider

        return make_provider(service)
    # Whatever is wrong with it: messages are worth more than their traces.
    except Exception as exc:  # noqa: BLE001
        _say(f"no traces are made: {error_line(exc)}")
        return None


def flush(provider: Any) -> None:
    """Have everything sent that waits, as far as that succeeds within `FLUSH_S`."""
    force_flush = getattr(provider, "force_flush", None)
    if force_flush is None:
        return

    def run() -> None:
        try:
            force_flush()
        # The application's provider may be any.
        except Exception as exc:  # noqa: BLE001
            logger.debug("spans are lost: %s", error_line(exc))

    # Aside: an exporter tries for as long as it likes.
    thread = threading.Thread(target=run, name="routemq-spans", daemon=True)
    thread.start()
    thread.join(FLUSH_S)


def _provider_in_use() -> "TracerProvider | None":
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    provider: TracerProvider = trace.get_tracer_provider()
    return None if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)) else provider


def _names_an_endpoint(environ: Mapping[str, str]) -> bool:
    exporters = environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    return "otlp" in exporters.split(",") and any(environ.get(name, "").strip() for name in _ENDPOINTS)


def _take_env_file() -> None:
    """Put what `.env` says of OpenTelemetry where its SDK looks; the environment wins."""
    path = Path(".env")
    if path.is_file():
        for name, value in read_env_file(path, variables=_Variables()).items():
            os.environ.setdefault(name, value)


class _Variables:
    """All of OpenTelemetry's."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.startswith(_PREFIX)


@cache
def _say(text: str) -> None:
    """Say it once; the children of the pool need not repeat it."""
    logger.warning("%s", text)
