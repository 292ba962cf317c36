"""The user's own function that makes the payload a dead letter keeps, at arm's length."""

import inspect
import logging
import threading
from collections.abc import Callable

from routemq.errors import ConfigurationError, NamedCodeError, RouteMQError
from routemq.named_code import named_function

logger = logging.getLogger(__name__)

RedactionHook = Callable[[str, bytes], bytes]
"""Takes the topic and the payload, returns the payload that is kept."""

_VARIABLE = "DLQ_REDACT_HOOK"
_PATIENCE_S = 2.0
"""Ingest's only thread waits for it, and with it every message."""


class HookError(RouteMQError):
    """The function has not made a payload."""

    def __init__(self, *, problem: str) -> None:
        self.problem = problem
        super().__init__(f"{_VARIABLE} {problem}")


class GuardedHook:
    """Calls the function, whatever it does: raise, exit, hang or return something else.

    It runs in a thread of its own, so that it can be left behind; until that thread has ended it is not called again.
    """

    def __init__(self, function: RedactionHook, *, patience_s: float = _PATIENCE_S) -> None:
        self._function, self._patience_s = function, patience_s
        self._left_behind: threading.Thread | None = None
        self._told: set[str] = set()

    @classmethod
    def load(cls, name: str) -> "GuardedHook":
        """Import the function.

        Args:
            name: `package.module:function`.

        Raises:
            ConfigurationError: There is no such function.
        """
        try:
            function = named_function(name, "topic", "payload")
        except NamedCodeError as exc:
            allowed = f"package.module:function ({exc.problem}; mend: {exc.mend})"
            raise ConfigurationError(variable=_VARIABLE, value=name, allowed=allowed) from exc
        return cls(function)

    def __call__(self, topic: str, payload: bytes) -> bytes:
        """Return the payload to keep.

        Raises:
            HookError: There is none; the log says so once for each problem.
        """
        try:
            return self._called(topic, payload)
        except HookError as exc:
            if exc.problem not in self._told:
                self._told.add(exc.problem)
                logger.error("%s; nothing is kept of such payloads (said once)", exc)
            raise

    def _called(self, topic: str, payload: bytes) -> bytes:
        if self._left_behind is not None and self._left_behind.is_alive():
            raise HookError(problem="has not ended yet since it was called for an earlier message")
        outcome: list[object] = []

        def call() -> None:
            try:
                outcome.append(self._function(topic, payload))
            # The function is the user's, and nothing that it raises may end a process: SystemExit neither.
            except BaseException as exc:  # noqa: BLE001
                outcome.append(exc)

        thread = threading.Thread(target=call, name="routemq-redact-hook", daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:
            raise HookError(problem="cannot be called: there is no thread for it") from exc
        thread.join(self._patience_s)
        if not outcome:
            self._left_behind = thread
            raise HookError(problem=f"did not return within {self._patience_s:g} s")
        found = outcome[0]
        if isinstance(found, BaseException):
            # Its text may be about the payload.
            raise HookError(problem=f"raised {type(found).__name__}") from None
        if inspect.iscoroutine(found):
            found.close()
        if not isinstance(found, bytes):
            raise HookError(problem=f"returned {type(found).__name__} instead of bytes")
        return bytes(found)
