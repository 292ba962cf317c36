"""When a message that was sent with a countdown or a time is due."""

from datetime import UTC, datetime
from typing import Any


def due_time(message: Any) -> float | None:
    """Return Unix seconds, or None for a message that is due at once."""
    headers = message.get("headers")
    eta = headers.get("eta") if isinstance(headers, dict) else None
    if not isinstance(eta, str):
        return None
    try:
        due = datetime.fromisoformat(eta)
    except ValueError:
        # Celery refuses it on arrival, and says so there.
        return None
    if due.tzinfo is None:
        due = due.replace(tzinfo=UTC)
    return due.timestamp()
