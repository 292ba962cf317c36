"""Every exception of this project. Each builds its message from data and keeps the data."""

from collections.abc import Iterable


class RouteMQError(Exception):
    """What all errors of this project have in common."""


class ConfigurationError(RouteMQError):
    """A setting has a value that cannot be used."""

    def __init__(self, *, variable: str, value: object, allowed: str) -> None:
        self.variable, self.value, self.allowed = variable, value, allowed
        super().__init__(f"{variable}={value} cannot be used: {allowed}")


class TopicTemplateError(RouteMQError):
    """A topic template is not a valid MQTT topic filter with parameters."""

    def __init__(self, *, template: str, problem: str) -> None:
        self.template, self.problem = template, problem
        super().__init__(f"topic template {template!r}: {problem}")


class RouteError(RouteMQError):
    """A route cannot be made, or does not fit beside the others.

    Attributes:
        source: Where the route was declared, `file:line`.
        route: The route's name or topic.
        problem: What is wrong.
        mend: What to change.
    """

    def __init__(self, *, source: str, route: str, problem: str, mend: str) -> None:
        self.source, self.route, self.problem, self.mend = source, route, problem, mend
        super().__init__(f"{source}: route {route!r}: {problem}. Mend: {mend}.")


class WorkerStartError(RouteMQError):
    """A hook of `on_worker_start` cannot be called, or gave back what nobody can close.

    Attributes:
        source: Where it was declared, `file:line`.
    """

    def __init__(self, *, source: str, hook: str, problem: str, mend: str) -> None:
        self.source, self.hook, self.problem, self.mend = source, hook, problem, mend
        super().__init__(f"{source}: on_worker_start {hook}: {problem}. Mend: {mend}.")


class BindingError(RouteMQError):
    """A controller's signature cannot be filled from a message of its route."""

    def __init__(self, *, controller: str, problem: str, mend: str) -> None:
        self.controller, self.problem, self.mend = controller, problem, mend
        super().__init__(f"controller {controller}: {problem}. Mend: {mend}.")


class NamedCodeError(RouteMQError):
    """What the application names, `package.module:name`, cannot be imported, or is another kind of thing.

    Attributes:
        mend: What to change.
    """

    def __init__(self, *, problem: str, mend: str) -> None:
        self.problem, self.mend = problem, mend
        super().__init__(f"{problem}. Mend: {mend}.")


class NamedValueError(RouteMQError):
    """A value that a controller asks for by its name is not provided, or cannot be.

    Attributes:
        mend: What to change.
    """

    def __init__(self, *, problem: str, mend: str) -> None:
        self.problem, self.mend = problem, mend
        super().__init__(f"{problem}. Mend: {mend}.")


class CodecError(RouteMQError):
    """A route's codec cannot be used.

    Attributes:
        mend: What to change.
    """

    def __init__(self, *, given: object, problem: str, mend: str) -> None:
        self.given, self.problem, self.mend = given, problem, mend
        super().__init__(f"codec={given!r}: {problem}. Mend: {mend}.")


class DiscoveryError(RouteMQError):
    """The application's routers, or its own Celery tasks, could not be imported."""

    def __init__(self, *, module: str, problem: str, mend: str, what: str = "routers") -> None:
        self.module, self.problem, self.mend = module, problem, mend
        super().__init__(f"{what} {module}: {problem}. Mend: {mend}.")


class UnknownQueueError(RouteMQError):
    """A worker was asked to consume queues that no route uses."""

    def __init__(self, *, unknown: Iterable[str], known: Iterable[str]) -> None:
        self.unknown, self.known = tuple(unknown), tuple(known)
        names = ", ".join(repr(name) for name in self.unknown)
        queues = ", ".join(self.known) or "none: the application has no routes"
        super().__init__(f"no route uses the queue {names}; the queues there are: {queues}")


class EmptyQueueNameError(RouteMQError):
    """A queue was asked for by an empty name, as a shell variable that is not set leaves it."""

    def __init__(self, *, known: Iterable[str]) -> None:
        self.known = tuple(known)
        queues = ", ".join(self.known) or "none: the application has no routes"
        super().__init__(
            f"the name of a queue is empty; is a variable not set? Leave the option out for all queues, or "
            f"name some of these: {queues}"
        )


class EnvelopeError(RouteMQError):
    """Bytes from a queue are not a message of the wire contract.

    Attributes:
        data: The bytes as they were found.
    """

    def __init__(self, *, problem: str, data: bytes) -> None:
        self.problem, self.data = problem, data
        super().__init__(f"not a RouteMQ message: {problem}")


class InvalidMessageError(RouteMQError):
    """A message does not fit its controller: a parameter or the payload does not convert. Never retried.

    Attributes:
        part: What did not convert, such as `payload` or `parameter 'line'`.
        problem: Why, without the payload's contents.
    """

    def __init__(self, *, part: str, problem: str) -> None:
        self.part, self.problem = part, problem
        super().__init__(f"{part}: {problem}")


class NotRunError(RouteMQError):
    """A controller or middleware has left something that nobody would ever run: a coroutine, a generator.

    Attributes:
        what: What was left, and how.
        mend: What to change.
    """

    def __init__(self, *, what: str, mend: str) -> None:
        self.what, self.mend = what, mend
        super().__init__(f"{what}, and nobody else runs it or hears how it ends. Mend: {mend}.")


class PublishError(RouteMQError):
    """A controller's `client.publish` was not confirmed by the MQTT broker."""

    def __init__(self, *, topic: str, problem: str) -> None:
        self.topic, self.problem = topic, problem
        super().__init__(f"publish to {topic!r}: {problem}")


class ReplyError(RouteMQError):
    """What a controller returned cannot be sent as its answer."""

    def __init__(self, *, controller: str, problem: str) -> None:
        self.controller, self.problem = controller, problem
        super().__init__(f"what {controller} returned cannot be its answer: {problem}")


class RequestError(RouteMQError):
    """A request had no answer in time, or could not be published."""

    def __init__(self, *, topic: str, problem: str) -> None:
        self.topic, self.problem = topic, problem
        super().__init__(f"request to {topic!r}: {problem}")


class DeadLetterNotFoundError(RouteMQError):
    """No dead letter has this id: it was replayed or discarded, or the id is mistyped."""

    def __init__(self, *, letter_id: str, became: str = "already replayed or discarded, or mistyped") -> None:
        self.letter_id = letter_id
        super().__init__(f"no dead letter {letter_id!r}: {became} (see: routemq dlq list)")


class NotReplayableError(RouteMQError):
    """A dead letter's bytes are no message that a worker could run, or replaying it needs force.

    Attributes:
        problem: In words that fit a page as well as a terminal.
        mend: What helps at a terminal; None when nothing does.
    """

    def __init__(self, *, letter_id: str, problem: str, mend: str | None = None) -> None:
        self.letter_id, self.problem, self.mend = letter_id, problem, mend
        how = "" if mend is None else f"; {mend}"
        super().__init__(f"dead letter {letter_id!r} cannot be replayed: {problem}{how}")
