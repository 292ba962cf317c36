"""What a controller's `client` is: the publishes of one run, which count with it."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from routemq.errors import PublishError, RequestError
from routemq.message import PublishProperties
from routemq.publishable import Payload, publishable
from routemq.reply import expiry_problem
from routemq.topics import topic_problem
from routemq_tasks.asking import Question
from routemq_tasks.green import call
from routemq_tasks.publication import Publication
from routemq_tasks.publisher import Publisher

if TYPE_CHECKING:
    from routemq_tasks.run_spans import Runs

_LONGEST_PROPERTY = 65_535
_MOST_REMEMBERED = 1000

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
    _questions: list[Question] = field(default_factory=list)
    _full_at: int = _MOST_REMEMBERED

    def publish(
        self,
        topic: str,
        payload: Payload,
        qos: int = 0,
        retain: bool = False,
        *,
        properties: PublishProperties | None = None,
    ) -> None:
        """Publish to the MQTT broker; see `routemq.Client`.

        Raises:
            PublishError: The topic, the payload or the QoS cannot be published.
        """
        self._publications.append(self._sent(topic, payload, qos, retain, properties=properties))
        self._tidy()

    def request(self, topic: str, payload: Payload, *, timeout_s: float = 10.0, qos: int = 1) -> Question:
        """Publish a request; see `routemq.Client`.

        Raises:
            PublishError: The topic, the payload or the QoS cannot be published.
            RequestError: The time is none.
        """
        # Typed in vain for users who do not check types.
        given: object = timeout_s
        if given is None or expiry_problem(given):
            raise RequestError(topic=topic, problem=f"timeout_s={timeout_s!r}; it is a positive number of seconds")
        question = Question(topic, timeout_s, self.publisher.forget)
        properties = PublishProperties(
            response_topic=self.publisher.response_topic, correlation_data=question.number, expiry_s=timeout_s
        )
        self._questions.append(question)
        self._sent(topic, payload, qos, properties=properties, question=question)
        self._tidy()
        return question

    def _sent(
        self,
        topic: str,
        payload: Payload,
        qos: int,
        retain: bool = False,
        *,
        properties: PublishProperties | None,
        question: Question | None = None,
    ) -> Publication:
        problem = topic_problem(topic) or _qos_problem(qos) or _properties_problem(properties)
        if problem is not None:
            raise PublishError(topic=topic, problem=problem)
        data = publishable(topic, payload)
        span = None if self.runs is None else self.runs.publishing(topic, len(data), int(qos))
        publication = Publication(
            topic, data, int(qos), bool(retain), span=span, properties=properties, question=question
        )
        self.hand_over(partial(_publish, self.publisher, publication))
        return publication

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
        if self._questions:
            self._forget_questions()

    def abandon(self) -> None:
        """Take back what is not confirmed: the run failed, and the next one publishes again."""
        self.publisher.withdraw(self._publications)
        self._publications.clear()
        self._forget_questions()

    def _tidy(self) -> None:
        """Remember no more what has come to a good end: a script may go on for weeks."""
        if len(self._publications) + len(self._questions) < self._full_at:
            return
        # One by one, in place: another thread of the controller's may be adding to them.
        with contextlib.suppress(ValueError):
            for publication in [each for each in self._publications if each.is_confirmed]:
                self._publications.remove(publication)
            for question in [each for each in self._questions if each.is_over]:
                self.publisher.forget(question)
                self._questions.remove(question)
        self._full_at = max(_MOST_REMEMBERED, 2 * (len(self._publications) + len(self._questions)))

    def _forget_questions(self) -> None:
        for question in self._questions:
            self.publisher.forget(question)
        self._questions.clear()


def _publish(publisher: Publisher, publication: Publication) -> None:
    try:
        publisher.publish(publication)
    except PublishError as exc:
        # Where nobody hears of it now, who waits for the confirmation does.
        publication.settle(exc.problem)
        raise


def _qos_problem(qos: object) -> str | None:
    return None if isinstance(qos, int) and qos in (0, 1, 2) else f"qos={qos!r}; it is 0, 1 or 2"


def _properties_problem(properties: object) -> str | None:
    if properties is None:
        return None
    if not isinstance(properties, PublishProperties):
        return f"properties={properties!r}; it is PublishProperties(…)"
    topic, content_type = properties.response_topic, properties.content_type
    # Typed in vain for users who do not check types.
    data: object = properties.correlation_data
    if topic is not None and (problem := topic_problem(topic)):
        return f"the response topic {topic!r}: {problem}"
    if data is not None and not (isinstance(data, bytes) and len(data) <= _LONGEST_PROPERTY):
        return f"correlation_data is bytes, {_LONGEST_PROPERTY} at most"
    if content_type is not None and not _is_utf8(content_type):
        return f"content_type={content_type!r}; it is text, {_LONGEST_PROPERTY} bytes of UTF-8 at most"
    return _pairs_problem(properties.user_properties) or expiry_problem(properties.expiry_s)


def _pairs_problem(given: object) -> str | None:
    # Paho takes what it could not send for sent, until the connection ends.
    if isinstance(given, tuple | list) and all(
        isinstance(pair, tuple | list) and len(pair) == 2 and all(map(_is_utf8, pair)) for pair in given
    ):
        return None
    return f"user_properties={given!r}; they are pairs of name and value, each text of UTF-8"


def _is_utf8(text: object) -> bool:
    try:
        return isinstance(text, str) and len(text.encode()) <= _LONGEST_PROPERTY and "\0" not in text
    except UnicodeEncodeError:
        return False
