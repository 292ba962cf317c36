"""Bind the signature of a controller that takes many messages at once: a list for each parameter."""

import inspect
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from routemq.controllers import (
    Fill,
    Handler,
    Inputs,
    arguments_of,
    controller_name,
    filler,
    is_async,
    named_filler,
    not_given,
)
from routemq.errors import BindingError, InvalidMessageError
from routemq.message import Client, Message
from routemq.middleware import Context
from routemq.named_values import NamedValue, Promise
from routemq.payload_codecs import RouteCodec
from routemq.signatures import asks_for
from routemq.topics import TopicTemplate

_SINGULAR = {"payloads": "payload", "messages": "message"}
"""The lists that a batch has beside those of the topic's parameters, and what each holds of a message."""


@dataclass(frozen=True, slots=True)
class BoundBatch:
    """A controller that takes the contexts of many messages.

    Attributes:
        is_async: Whether calling it returns an awaitable.
        handler: The function itself.
    """

    is_async: bool
    handler: Handler
    _lists: tuple[tuple[str, Fill], ...]
    _single: tuple[tuple[str, Fill], ...]

    def __call__(self, contexts: Sequence[Context]) -> Any:
        """Convert each message's parts and run the controller with those that convert.

        One that does not is decided by itself, and not in the lists; the controller is not run for none.
        """
        rows, last = [], None
        for context in contexts:
            try:
                rows.append([fill(context) for _, fill in self._lists])
                last = context
            except InvalidMessageError as exc:
                context.message.fail(exc)
        if last is None:
            return None
        columns = zip(*rows, strict=True)
        lists = {name: list(column) for (name, _), column in zip(self._lists, columns, strict=True)}
        return self.handler(**lists, **{name: fill(last) for name, fill in self._single})

    def check(self, context: Context) -> None:
        """Convert one message's parts without running the controller.

        Raises:
            InvalidMessageError: A parameter or the payload does not convert.
        """
        for _, fill in self._lists:
            fill(context)


def bind_batch(
    handler: Handler,
    template: TopicTemplate,
    named: Mapping[str, Promise] | None = None,
    codec: RouteCodec | None = None,
) -> BoundBatch:
    """Work out how each of a controller's parameters is filled from many messages of `template`.

    `messages` are the `Message`s, `payloads` what `payload` would be of each, a topic's parameter the list of its
    values, all in the same order and of the same length. Each is annotated `list[…]`, or not at all; `client`
    publishes, and what middleware provides is the last message's.

    Raises:
        BindingError: A parameter cannot be filled, or its annotation cannot be used.
    """
    arguments = arguments_of(handler, Inputs(template, named or {}, codec), _list_filler)
    single = tuple((name, fill) for name, fill in arguments if _is_single(fill))
    lists = tuple((name, fill) for name, fill in arguments if not _is_single(fill))
    if not lists:
        raise _refusal(handler, "it takes nothing of the messages", "give it `messages: list[Message]` or `payloads`")
    return BoundBatch(is_async(handler), handler, lists, single)


def _client(context: Context) -> Any:
    return context.client


def _is_single(fill: Fill) -> bool:
    return fill is _client or isinstance(fill, NamedValue)


def _list_filler(controller: str, parameter: inspect.Parameter, inputs: Inputs) -> Fill | None:
    name, annotation, template = parameter.name, parameter.annotation, inputs.template
    if name == "client" or asks_for(annotation, Client):
        return _client
    if name in inputs.named:
        return named_filler(controller, parameter, inputs)
    if name in template.parameters and name in _SINGULAR:
        raise _refusal(
            controller,
            f"{name!r} is a parameter of its topic, and the batch's own list",
            f"name the topic's parameter otherwise than {name!r}",
        )
    element = _element(annotation)
    if name in _SINGULAR.values() or asks_for(annotation, Message):
        of_batch = "payloads" if name == "payload" else "messages"
        raise _refusal(
            controller,
            f"its route has batch=, and the parameter {name!r} takes one message's",
            f"name it {of_batch}, annotated list[…]",
        )
    known = name in template.parameters or name in _SINGULAR or element is Message
    if not known:
        if parameter.default is not parameter.empty:
            return None
        raise not_given(controller, name, inputs, (*_SINGULAR, "client"))
    if element is None:
        raise _refusal(
            controller,
            f"its route has batch=, and the parameter {name!r} is annotated {inspect.formatannotation(annotation)}",
            f"annotate it list[{_shown(annotation)}], which has one of each message",
        )
    of_one = parameter.replace(
        name="message" if element is Message else _SINGULAR.get(name, name),
        annotation=element,
        default=parameter.empty,
    )
    return filler(controller, of_one, inputs)


def _element(annotation: Any) -> Any:
    """Return what the list holds; `empty` when it does not say, None when the annotation is no list."""
    if annotation in (inspect.Parameter.empty, Any, list):
        return inspect.Parameter.empty
    if typing.get_origin(annotation) is list:
        (element,) = typing.get_args(annotation)
        return element
    return None


def _shown(annotation: Any) -> str:
    found = [each for each in typing.get_args(annotation) if each is not Ellipsis]
    origin = typing.get_origin(annotation)
    is_collection = isinstance(origin, type) and issubclass(origin, Iterable)
    return inspect.formatannotation(found[-1] if is_collection and found else annotation)


def _refusal(controller: Handler | str, problem: str, mend: str) -> BindingError:
    return BindingError(controller=controller_name(controller), problem=problem, mend=mend)
