"""What a controller's `client` is: the publishes of one run, which count with it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from routemq.errors import PublishError
from routemq.topics import topic_problem
from routemq_tasks.green import call
from routemq_tasks.publisher import Publication, Publisher

if TYPE_CHECKING:
    from routemq_tasks.run_spans import Runs

Payload = bytes | str | dict[str, Any] | list[Any]

CONFIRMATION_TIMEOUT_S = 10.0
"""A message whose publishes are not confirmed by then has failed."""


@dataclass(slots=True)
class MessageClient:
    """The client of one message's run; remembers what it published until it is confirmed.

    Attributes:
        hand_over: Calls a function in a thread in which the publisher may be used; see `EventLoop.hand_over`.
        runs: Makes the spans of publishes.
    """

    publisher: Publisher
    hand_over: Callable[[Callable[[], None]], Any] = call
    runs: "Runs | None" = None
    _publications: list[Publication] = field(default_factory=list)

    def publish(self, topic: str, payload: Payload, qos: int = 0, retain: bool = False) -> None:
        """Publish to the MQTT broker; see `routemq.Client`.

        Raises:
            PublishError: The topic, the payload or the QoS cannot be published.
        """
        problem = topic_problem(topic) or _qos_problem(qos)
        if problem is not None:
            raise PublishError(topic=topic, problem=problem)
        data = _encoded(topic, payload)
        span = None if self.runs is None else self.runs.publishing(topic, len(data), int(qos))
        publication = Publication(topic, data, int(qos), bool(retain), span=span)
        self.hand_over(partial(_publish, self.publisher, publication))
        self._publications.append(publication)

    def confirm(self) -> None:
        """Wait until everything published so far is confirmed.

        Raises:
            PublishError: Something was not, in time.
        """
        if self._publications:
            deadline = time.monotonic() + CONFIRMATION_TIMEOUT_S
            for publication in self._publications:
                self.publisher.wait(publication, deadline=deadline)
            self._publications.clear()

    def abandon(self) -> None:
        """Take back what is not confirmed: the run failed, and the next one publishes again."""
        self.publisher.withdraw(self._publications)
        self._publications.clear()


def _publish(publisher: Publisher, publication: Publication) -> None:
    try:
        publisher.publish(publication)
    except PublishError as exc:
        # Where nobody hears of it now, who waits for the confirmation does.
        publication.settle(exc.problem)
        raise


def _qos_problem(qos: object) -> str | None:
    return None if isinstance(qos, int) and qos in (0, 1, 2) else f"qos={qos!r}; it is 0, 1 or 2"


def _encoded(topic: str, payload: object) -> bytes:
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    try:
        if isinstance(payload, str):
            return payload.encode()
        if isinstance(payload, (dict, list)):
            return orjson.dumps(payload)
    except (TypeError, UnicodeEncodeError) as exc:
        raise PublishError(topic=topic, problem=f"the payload cannot be encoded: {exc}") from exc
    raise PublishError(topic=topic, problem=f"a payload is bytes, str, dict or list, not {type(payload).__name__}")
