"""What a worker looks at before Celery sees a message: nothing that a message contains may stop it."""

from collections.abc import Mapping
from typing import Any

import orjson

from routemq.envelope import VERSION
from routemq.errors import EnvelopeError
from routemq.mark import MEMBER, Mark
from routemq.route import Route
from routemq.tracing.trace_context import PARENT, STATE, TraceContext
from routemq_tasks.application import Application
from routemq_tasks.errors import LaterEnvelopeError, UnknownRouteError, UnroutableError
from routemq_tasks.execution import RouteTask
from routemq_tasks.own_tasks import CANVAS_TASKS
from routemq_tasks.upstream.public_names import leave_body, raw_of

_JSON = "application/json"
_UTF8 = ("utf-8", "utf8")
_MOST_SHOWN = 200
_MOST_COUNTED = 2**31
_NO_LIMITS = (None, None)


def admit(message: Any, app: Application) -> Any:
    """Check a Kombu message, leave in it only what was checked, and return its task.

    Args:
        message: Changed in place.

    Raises:
        UnknownRouteError: Another release of the application may know what it is for.
        UnroutableError: No release can.
        EnvelopeError: It cannot be run.
    """
    name = message.headers.get("task")
    task = _task(name, app)
    if task is None or isinstance(task, RouteTask):
        route, argument = _route_and_envelope(message, name, app)
        if task is None or task.route is not route:
            # Of its queue, by another name.
            task = app.registry[route.name]
        # Callbacks, chains and chords would be sent by whoever wrote the message; a route has none.
        body = [[argument], {}, {}]
        headers = _route_headers(message.headers, route.name, mark_of(message))
        # As Celery's own clients have it.
        message.properties.setdefault("correlation_id", headers["id"])
    else:
        body, headers = _shaped(message.decode()), message.headers
    _check_headers(headers)
    message.headers = headers
    leave_body(message, body)
    return task


def _task(name: object, app: Application) -> Any:
    if not (isinstance(name, str) and name):
        raise _problem("it names no task")
    if name.startswith("celery.") and name not in CANVAS_TASKS:
        raise UnroutableError(route=name[:_MOST_SHOWN], problem="it is for result backends, of which there is none")
    return app.registry.get(name)


def _route_and_envelope(message: Any, name: str, app: Application) -> tuple[Route, Any]:
    named = app.router.get(name)
    try:
        arguments, keywords, _ = _json_body(message)
        if len(arguments) != 1 or keywords:
            raise _problem("its body has other arguments than one envelope")
    except EnvelopeError:
        if named is None:
            raise _unknown(name) from None
        raise
    envelope = arguments[0]
    fields = envelope if isinstance(envelope, dict) else {}
    topic, queue, version = fields.get("topic"), message.delivery_info.get("routing_key"), fields.get("v")
    if type(version) is int and version > VERSION:
        raise LaterEnvelopeError(version=version)
    route = app.router.find(name, topic=topic, queue=str(queue)) if isinstance(topic, str) else named
    if route is None:
        raise _unknown(name)
    # Everything downstream, delays and burials, goes by this queue; one that no worker consumes would swallow it.
    if queue != route.queue and queue not in app.router.queues:
        message.delivery_info["routing_key"] = route.queue
    return route, envelope


def _unknown(name: str) -> UnknownRouteError:
    return UnknownRouteError(route=name[:_MOST_SHOWN], problem="this release of the application has no such route")


def _json_body(message: Any) -> Any:
    if message.content_type != _JSON:
        raise _problem(f"content type {_shown(message.content_type)} instead of {_JSON}")
    if message.content_encoding != "utf-8" and str(message.content_encoding).lower() not in _UTF8:
        raise _problem(f"content encoding {_shown(message.content_encoding)} instead of utf-8")
    try:
        return _shaped(orjson.loads(message.body))
    except (TypeError, orjson.JSONDecodeError) as exc:
        raise _problem(f"its body is not JSON: {exc}") from exc


def _shaped(body: Any) -> Any:
    try:
        arguments, keywords, embed = body
    except (TypeError, ValueError):
        arguments = keywords = embed = None
    if not (
        isinstance(arguments, (list, tuple))
        and isinstance(keywords, dict)
        and (embed is None or isinstance(embed, dict))
    ):
        raise _problem("its body is not [arguments, keywords, embed]")
    return body


def mark_of(message: Any) -> Mark:
    """Return what a Kombu message says of its deliveries.

    Raises:
        EnvelopeError: It is no mark.
    """
    try:
        return Mark.of(raw_of(message).get(MEMBER))
    except ValueError as exc:
        raise _problem(str(exc)) from exc


def _route_headers(headers: Mapping[str, Any], route: str, mark: Mark) -> dict[str, Any]:
    get = headers.get
    own = get("routemq") or {}
    if not isinstance(own, dict):
        raise _problem("its header 'routemq' is not an object")
    failures = own.get("failures") or []
    generation = own.get("generation") or 0
    if not _is_count(generation):
        raise _problem(f"its generation is {_shown(generation)}")
    if failures and not (isinstance(failures, list) and all(_is_failure(failure) for failure in failures)):
        raise _problem("its failures are not [time, error, worker]")
    replays = own.get("replays") or []
    if replays and not (isinstance(replays, list) and all(_is_failure(replay) for replay in replays)):
        raise _problem("its replays are not [time, who, error]")
    own = {"generation": generation, "failures": failures, "replays": replays, "strikes": mark.strikes}
    trace = TraceContext.of(headers[PARENT], get(STATE)) if PARENT in headers else None
    task_id = get("id")
    checked = {
        "lang": "py",
        "task": route,
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "group": None,
        "retries": get("retries") or 0,
        "eta": get("eta"),
        "expires": get("expires"),
        "timelimit": get("timelimit") or _NO_LIMITS,
        "argsrepr": str(get("argsrepr") or ""),
        "kwargsrepr": "{}",
        "ignore_result": True,
        "routemq": own,
        # What Celery would look for among all keys, at each run.
        "headers": {"routemq": own},
    }
    if trace is not None:
        checked.update(trace.pairs())
    return checked


def _check_headers(headers: Mapping[str, Any]) -> None:
    task_id, retries = headers.get("id"), headers.get("retries")
    if not (isinstance(task_id, str) and task_id):
        raise _problem("it has no id")
    if not _is_storable(task_id):
        raise _problem(f"its id is {_shown(task_id)}")
    if retries is not None and not _is_count(retries):
        raise _problem(f"its header 'retries' is {_shown(retries)}")
    limits = headers.get("timelimit")
    if (
        limits is not None
        and limits is not _NO_LIMITS
        and not (isinstance(limits, (list, tuple)) and len(limits) == 2 and all(_is_limit(limit) for limit in limits))
    ):
        raise _problem(f"its header 'timelimit' is {_shown(limits)}")


def _is_count(number: object) -> bool:
    return type(number) is int and 0 <= number < _MOST_COUNTED


def _is_storable(text: str) -> bool:
    # Python's own parser reads half a surrogate pair, which nothing can write again.
    return text.isascii() or text.encode("utf-8", "ignore").decode() == text


def _is_failure(failure: object) -> bool:
    return (
        isinstance(failure, list)
        and len(failure) == 3
        and isinstance(failure[0], (int, float))
        and all(isinstance(text, str) and _is_storable(text) for text in failure[1:])
    )


def _is_limit(limit: object) -> bool:
    return limit is None or (isinstance(limit, (int, float)) and limit > 0)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"


def _problem(problem: str) -> EnvelopeError:
    # The bytes are on record already, in Redis.
    return EnvelopeError(problem=problem, data=b"")
