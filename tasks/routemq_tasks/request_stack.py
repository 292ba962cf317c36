"""What a thread, or a greenlet, is running."""

import threading
from typing import Any


class RequestStack(threading.local):
    """Celery's stack of a task's requests, without a dictionary of all threads to look into at each step.

    Attributes:
        stack: The innermost last.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []

    def push(self, request: Any) -> None:
        """A run begins."""
        self.stack.append(request)

    def pop(self) -> Any:
        """The innermost run has ended."""
        return self.stack.pop() if self.stack else None

    @property
    def top(self) -> Any:
        """The innermost request; None when nothing runs."""
        return self.stack[-1] if self.stack else None

    def __len__(self) -> int:
        return len(self.stack)


class TaskStackLocal(threading.local):
    """Where Celery's own stack, of the tasks that run, keeps what belongs to a thread; without such a dictionary.

    Attributes:
        stack: As above.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []

    def __release_local__(self) -> None:
        """The stack is about to be empty; Celery still has the old one in hand."""
        self.stack = []
