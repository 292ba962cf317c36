"""Values that middleware makes for a message, and that its controller asks for by name."""

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from routemq.errors import NamedValueError
from routemq.middleware import Context, Middleware
from routemq.topics import RESERVED_NAMES


@dataclass(frozen=True, slots=True)
class NamedValue:
    """Fills a parameter with what a middleware has provided for the message.

    Attributes:
        name: Of the value, and of the parameter.
        provider: The middleware's class.
    """

    name: str
    provider: str

    def __call__(self, context: Context) -> Any:
        """Return the value.

        Raises:
            NamedValueError: The middleware has not provided it.
        """
        try:
            return context.provided[self.name]
        except KeyError:
            raise NamedValueError(
                problem=f"{self.provider} says that it provides {self.name!r}, and has not",
                mend=f"context.provide({self.name!r}, …) before next_handler(context)",
            ) from None


@dataclass(frozen=True, slots=True)
class Promise:
    """What a middleware says that it provides.

    Attributes:
        kind: The value's type.
        provider: The middleware's class.
    """

    kind: Any
    provider: str


def promised(middleware: Sequence[Middleware], taken: Iterable[str]) -> dict[str, Promise]:
    """Return the values that middleware promises to a route's controller; of two of one name the inner one counts.

    Args:
        taken: Names that are the topic's.

    Raises:
        NamedValueError: A promise cannot be kept: a name is another's, or no name.
    """
    taken, found = {*taken, *RESERVED_NAMES, "payloads", "messages"}, dict[str, Promise]()
    for link in middleware:
        provider = type(link).__name__
        # Typed in vain for users who do not check types.
        provides: Any = link.provides
        if not isinstance(provides, Mapping):
            raise NamedValueError(
                problem=f"{provider}.provides is {provides!r}", mend='write `provides = {"name": Type}`'
            )
        for name, kind in provides.items():
            if not (isinstance(name, str) and name.isidentifier()):
                raise NamedValueError(
                    problem=f"{provider} provides {name!r}", mend="use a name that a parameter can have"
                )
            if name in taken:
                raise NamedValueError(
                    problem=f"{provider} provides {name!r}, which is the message's own", mend="give one another name"
                )
            found[name] = Promise(kind, provider)
    return found


def fits(promise: Any, asked: Any) -> bool:
    """Return whether a value of one type may be given where another is asked for; in doubt it may."""
    promise, asked = _plain(promise), _plain(asked)
    if Any in (promise, asked) or asked in (None, object) or promise == asked:
        return True
    if typing.get_origin(promise) in (typing.Union, types.UnionType):
        return all(fits(each, asked) for each in typing.get_args(promise))
    if typing.get_origin(asked) in (typing.Union, types.UnionType):
        return any(fits(promise, each) for each in typing.get_args(asked))
    kinds = [typing.get_origin(each) or each for each in (promise, asked)]
    if not all(isinstance(kind, type) for kind in kinds):
        return True
    try:
        return issubclass(*kinds)
    except TypeError:
        # A Protocol that cannot be looked at.
        return True


def _plain(kind: Any) -> Any:
    return typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind
