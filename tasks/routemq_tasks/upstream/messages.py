"""What kombu keeps of a message, and has no public name for."""

from typing import Any


def raw_of(message: Any) -> dict[str, Any]:
    """Return the list item as it was decoded, with what neither kombu nor Celery knows of."""
    raw: dict[str, Any] = message._raw  # noqa: SLF001
    return raw


def leave_body(message: Any, body: object) -> None:
    """Let this be the decoded body, for which Celery asks at several places."""
    message._decoded_cache = body  # noqa: SLF001
