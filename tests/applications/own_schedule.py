"""When the application's own tasks run by themselves."""

from datetime import timedelta

from routemq.celery import app

app.conf.beat_schedule = {
    "each second": {"task": "own.report", "schedule": timedelta(seconds=1), "args": ("the clock",)},
}


@app.task(name="own.of-the-app", queue="of.the.app")  # type: ignore[untyped-decorator,unused-ignore]  # Celery has no types
def of_the_app() -> None:
    """Made with the app itself instead of `shared_task`."""
