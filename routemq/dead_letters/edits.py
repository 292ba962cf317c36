"""Check a payload that a person has edited, before it is sent."""

from typing import Any, NoReturn

from routemq.envelope import TaskMessage
from routemq.errors import InvalidMessageError
from routemq.message import Message
from routemq.middleware import Context
from routemq.routing import Router


def check_edit(router: Router, task: TaskMessage, payload: bytes) -> None:
    """Convert the payload as the route's controller would have it converted; nothing is run.

    Raises:
        InvalidMessageError: The controller would not get it, or the application has no such route.
        BindingError: The controller cannot be imported.
    """
    topic = task.envelope.topic
    route = router.find(task.route, topic=topic, queue=task.queue)
    if route is None:
        raise InvalidMessageError(part="route", problem=f"the application has none for {task.route!r} and {topic!r}")
    params = route.template.match(topic)
    message = Message(id=task.id, route=task.route, envelope=task.edited(payload).envelope, params=params or {})
    route.bound().check(Context(message=message, client=_NoClient()))


class _NoClient:
    def publish(self, *_args: Any, **_options: Any) -> NoReturn:
        raise RuntimeError("a check publishes nothing")

    request = publish
