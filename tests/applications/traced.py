"""The application of the execution tests beside what else makes traces, or reports errors, as a user sets these up."""

import os

from celery import signals

from tests.applications.execution import router

__all__ = ["router"]

if "SENTRY_DSN" in os.environ:
    import sentry_sdk

    sentry_sdk.init(os.environ["SENTRY_DSN"])


@signals.worker_process_init.connect(weak=False)  # type: ignore[misc]  # Celery has no types
def instrument(**_signal: object) -> None:
    if "TEST_INSTRUMENT" in os.environ:
        from opentelemetry.instrumentation.celery import CeleryInstrumentor

        CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]
