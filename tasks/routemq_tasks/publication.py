"""One publish of a worker, until it is known what became of it."""

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from routemq.message import PublishProperties
from routemq_tasks.asking import Question

if TYPE_CHECKING:
    from routemq_tasks.run_spans import Publishing


@dataclass(slots=True, eq=False)
class Publication:
    """One publish.

    Attributes:
        settled: Whether it is known what became of it.
        problem: Why it failed, None when it did not.
        wanted: False when its run has ended without it, so that it is not sent any more.
        lone_losses: How many connections ended while it was the only one in flight.
        suspect: A connection ended while it was in flight, so it goes alone until it is confirmed.
        span: Of its trace.
        properties: What MQTT 5 lets it say.
        question: What waits for an answer to it; it is sent when the answer would be heard.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    settled: threading.Event = field(default_factory=threading.Event)
    problem: str | None = None
    wanted: bool = True
    lone_losses: int = 0
    suspect: bool = False
    span: "Publishing | None" = None
    properties: PublishProperties | None = None
    question: Question | None = None

    @property
    def is_confirmed(self) -> bool:
        """Whether nothing more is to be told of it."""
        return self.settled.is_set() and self.problem is None

    def settle(self, problem: str | None) -> None:
        """It is confirmed, or has failed."""
        self.problem = problem
        if self.span is not None:
            self.span.settled(problem)
        if self.question is not None and problem is not None:
            self.question.settle(problem)
        self.settled.set()
