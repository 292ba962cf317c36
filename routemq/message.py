"""What a controller can see of a message, and the client it can answer with."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic_core import from_json

from routemq.envelope import Envelope
from routemq.errors import InvalidMessageError
from routemq.publishable import Payload
from routemq.retry import Reject, Retry
from routemq.unseen import with_unseen


class Readable:
    """Something with a payload."""

    __slots__ = ()
    payload: bytes

    def text(self) -> str:
        """Return the payload as text.

        Raises:
            InvalidMessageError: It is not UTF-8.
        """
        try:
            return self.payload.decode()
        except UnicodeDecodeError as exc:
            problem = with_unseen(f"not UTF-8 text (byte {exc.start})", self.payload)
            raise InvalidMessageError(part="payload", problem=problem) from exc

    def json(self) -> Any:
        """Return the payload parsed as JSON; whole numbers of any size stay exact.

        Raises:
            InvalidMessageError: It is empty or not JSON.
        """
        if not self.payload:
            raise InvalidMessageError(part="payload", problem="empty, where JSON is expected")
        try:
            return from_json(self.payload, allow_inf_nan=False)
        except ValueError as exc:
            raise InvalidMessageError(part="payload", problem=with_unseen(f"not JSON: {exc}", self.payload)) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Readable):
    """One MQTT message on its way through middleware to a controller.

    A controller of a batch decides for one of many by `fail`, `retry` or `reject`; the last word counts, once the
    controller returns. When it raises, all are run again, and nothing was decided.

    Attributes:
        id: The Celery task id; the same through every retry and replay. What the MQTT broker delivers twice has two.
        route: The route's name.
        envelope: What the MQTT broker delivered.
        params: The topic's parameters as text.
        attempt: Which run of this generation this is, from 1.
        generation: How often the message was replayed from the dead letters.
    """

    id: str
    route: str
    envelope: Envelope
    params: dict[str, str] = field(default_factory=dict)
    attempt: int = 1
    generation: int = 0
    # A middleware's `replace(message, …)` shares it.
    _decided: list[Exception] = field(default_factory=list, repr=False, compare=False)

    @property
    def topic(self) -> str:
        """The topic the message was published to."""
        return self.envelope.topic

    @property
    def payload(self) -> bytes:  # type: ignore[override]  # nobody sets it, and the envelope has it
        """The payload as it was published."""
        return self.envelope.payload

    def fail(self, error: Exception) -> None:
        """Let this message fail, as if a run with it alone had raised this error."""
        if not isinstance(error, Exception):
            raise TypeError(f"message.fail takes an exception, not {type(error).__name__}")
        self._decided.append(error)

    def retry(self, delay_s: float | None = None, *, why: str = "") -> None:
        """Let this message be run again later, as `raise Retry(…)` does.

        Args:
            delay_s: Seconds to wait; None takes the policy's delay.
            why: For the log, and the letter that it may become.
        """
        self._decided.append(Retry(why, delay_s=delay_s))

    def reject(self, why: str = "") -> None:
        """Let this message be dead at once, reason `rejected`, as `raise Reject(…)` does."""
        self._decided.append(Reject(why))

    @property
    def decision(self) -> Exception | None:
        """What was decided of this message last; None when it is done with its run."""
        return self._decided[-1] if self._decided else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishProperties:
    """What MQTT 5 lets a publish say beside its payload; a broker of MQTT 3.1.1 alone takes no publish with any.

    Attributes:
        response_topic: Where an answer is wanted.
        correlation_data: What the answer is to bring along.
        content_type: What the payload is.
        expiry_s: After so many seconds the broker need not deliver it any more.
        user_properties: Pairs of name and value, in order; names may repeat.
    """

    response_topic: str | None = None
    correlation_data: bytes | None = None
    content_type: str | None = None
    expiry_s: float | None = None
    user_properties: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Response(Readable):
    """The answer to a request.

    Attributes:
        payload: Byte for byte.
        content_type: MQTT 5 property; likewise the next.
        user_properties: Pairs of name and value, in order; names may repeat.
    """

    payload: bytes
    content_type: str | None = None
    user_properties: tuple[tuple[str, str], ...] = ()


class AwaitedResponse(Protocol):
    """A request that is on its way."""

    def result(self) -> Response:
        """Wait for the answer and return it, in a sync controller.

        Raises:
            RequestError: There is none in time, or the request could not be published.
        """

    def __await__(self) -> Generator[Any, None, Response]:
        """Wait for the answer, in an async controller; raises as `result` does."""


class Client(Protocol):
    """What a controller's `client` can do."""

    def publish(
        self,
        topic: str,
        payload: Payload,
        qos: int = 0,
        retain: bool = False,
        *,
        properties: PublishProperties | None = None,
    ) -> None:
        """Publish to the MQTT broker; a dict, a list, a model or a number goes out as JSON.

        Returns at once; the message counts as done only when the broker has confirmed its QoS 1 publishes.
        """

    def request(
        self,
        topic: str,
        payload: Payload,
        *,
        timeout_s: float = 10.0,
        qos: int = 1,
    ) -> AwaitedResponse:
        """Publish a request with a response topic, and wait for its answer: `await` it, or call its `result()`.

        The broker delivers it to nobody any more when the time is over. MQTT 5 alone has requests.

        Args:
            timeout_s: Seconds to wait for the answer.
        """
