"""Celery's request, with a public name for what it keeps to itself."""

from typing import Any

from routemq_transport.request import StartingRequest


class OpenRequest(StartingRequest):
    """A request that tells what a subclass has to know."""

    @property
    def is_ended_by_command(self) -> bool:
        """Whether an operator has ended it."""
        return bool(self._already_cancelled or self._already_revoked)

    @property
    def context(self) -> Any:
        """What Celery's signals are told of the request."""
        return self._context

    def on_revoked(self) -> None:
        """An operator has revoked it; Celery acknowledges it next."""

    def _announce_revoked(self, *args: Any, **options: Any) -> None:
        self.on_revoked()
        super()._announce_revoked(*args, **options)
