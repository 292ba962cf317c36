"""The front door of Celery's commands: `celery -A routemq worker|flower|inspect|…` finds `app` here."""

from routemq_tasks.app import RouteMQCelery

from routemq.discovery import load_router
from routemq.errors import RouteMQError
from routemq.settings import load_settings


def _load() -> RouteMQCelery:
    try:
        settings = load_settings()
        return RouteMQCelery(settings, load_router(settings.routers))
    except RouteMQError as exc:
        # Celery would wrap any exception into a page of traceback.
        raise SystemExit(f"Error: {exc}") from exc


app = _load()
