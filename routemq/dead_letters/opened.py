"""A dead letter with its message."""

from dataclasses import dataclass

from routemq.dead_letters.letter import DeadLetter
from routemq.envelope import FailedAttempt, TaskMessage
from routemq.errors import RouteMQError


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedLetter:
    """A dead letter with all that is kept of it.

    Attributes:
        letter: Its description, with the traceback.
        raw: The message byte for byte, as it lay on its queue.
        task: The message, if the bytes are one.
        problem: Why they are none.
    """

    letter: DeadLetter
    raw: bytes
    task: TaskMessage | None = None
    problem: str | None = None

    @property
    def payload(self) -> bytes:
        """The payload, or all bytes of what is no message."""
        return self.raw if self.task is None else self.task.envelope.payload

    @property
    def attempts(self) -> tuple[FailedAttempt, ...]:
        """Each failed run of this generation, as far as they are remembered; the last one is the last."""
        last = FailedAttempt(at=self.letter.died_at, error=self.letter.error, worker=self.letter.worker)
        return (*(self.task.failures if self.task else ()), last)


def opened(letter: DeadLetter, raw: bytes) -> OpenedLetter:
    """Return the letter with its message, if its bytes are one."""
    try:
        return OpenedLetter(letter=letter, raw=raw, task=TaskMessage.decode(raw))
    except (RouteMQError, RecursionError) as exc:
        return OpenedLetter(letter=letter, raw=raw, problem=str(exc) or type(exc).__name__)
