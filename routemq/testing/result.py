"""What became of a message that a test delivered."""

from dataclasses import dataclass
from typing import Any, Self

import orjson
from routemq_tasks.fate import Dead, Later

from routemq.message import PublishProperties

__all__ = ["Dead", "Done", "Later", "Published", "Result"]


@dataclass(frozen=True, slots=True)
class Done:
    """The controller has come to its end, and the MQTT broker has confirmed what it published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a controller, or a middleware, published."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: PublishProperties | None = None

    def json(self) -> Any:
        """Return the payload parsed as JSON."""
        return orjson.loads(self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a message.

    Attributes:
        outcome: `Done()`; `Later(delay_s)`, it is run again after so many seconds; `Dead(reason)`, it is a dead letter.
        error: What ended the run; None when it is done.
        published: In the order of the calls, also by a run that failed afterwards: the broker may have had it by then.
    """

    outcome: Done | Later | Dead
    error: BaseException | None
    published: tuple[Published, ...]

    def check(self) -> Self:
        """Return this result of a message that is done; raise the error of any other."""
        if self.error is not None:
            raise self.error
        return self
