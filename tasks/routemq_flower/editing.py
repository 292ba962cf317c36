"""Whether an edited payload would get as far as its controller."""

from dataclasses import dataclass

from routemq.dead_letters.decoded import decoded_payload
from routemq.dead_letters.edits import check_edit
from routemq.envelope import TaskMessage
from routemq.errors import BindingError, InvalidMessageError
from routemq.interruptions import is_interruption
from routemq.routing import Router
from routemq.text import error_line


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadCheck:
    """What the controller's annotations say of a payload.

    Attributes:
        problem: Why the message would die again before its controller runs; None when it fits.
        unchecked: Why it could not be checked here; None when it was.
    """

    problem: str | None = None
    unchecked: str | None = None


def encoded(router: Router, task: TaskMessage, edited: bytes | str) -> bytes:
    """Return the payload of an edit: bytes as they are, JSON text by the codec of the message's route.

    Raises:
        InvalidMessageError: There is no codec, or it cannot say that.
    """
    if isinstance(edited, bytes):
        return edited
    decoded = decoded_payload(router, task)
    if decoded is None or decoded.problem is not None:
        problem = "it has no codec whose payloads could be edited as JSON" if decoded is None else decoded.problem
        raise InvalidMessageError(part="payload", problem=str(problem))
    return decoded.encode(edited)


def check_payload(router: Router, task: TaskMessage, edited: bytes | str) -> PayloadCheck:
    """Convert a payload as a worker would; neither the controller nor its middleware is run."""
    try:
        check_edit(router, task, encoded(router, task, edited))
    except InvalidMessageError as exc:
        return PayloadCheck(problem=str(exc))
    # This host may lack what the workers have: that is no reason to keep anyone from mending a message.
    except BindingError as exc:
        return PayloadCheck(unchecked=str(exc))
    # A model's validators are the application's code.
    except BaseException as exc:
        if is_interruption(exc):
            raise
        return PayloadCheck(problem=error_line(exc))
    return PayloadCheck()
