"""Topic templates: what a route listens to, and what its controller learns from a topic."""

import re
from dataclasses import dataclass, field
from typing import Literal, cast

from routemq.errors import TopicTemplateError

Converter = Literal["str", "int", "float", "path"]
CONVERTERS: tuple[Converter, ...] = ("str", "int", "float", "path")

RESERVED_NAMES = ("payload", "message", "client")
"""What a controller is given besides the topic's parameters."""

MAX_TOPIC_BYTES = 65_535
"""MQTT 5, 1.5.4: a UTF-8 string is at most this long."""

_PARAMETER = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")


@dataclass(frozen=True, slots=True)
class TopicTemplate:
    """A topic filter with named levels.

    `sensors/{device_id}/data` has the filter `sensors/+/data`, matches `sensors/d1/data` and then gives
    `{"device_id": "d1"}`. `{line:int}` says that the level is a number; `{rest:path}`, as the last level,
    stands for all that follows (the filter's `#`). `+` and `#` stand for themselves and give no parameter.

    Attributes:
        text: The template as written.
        filter: The MQTT topic filter it subscribes to.
        parameters: Converter of each named level, in order.

    Raises:
        TopicTemplateError: The text is not a valid topic filter, or a parameter is malformed.
    """

    text: str
    filter: str = field(init=False)
    parameters: dict[str, Converter] = field(init=False, hash=False, compare=False)
    literal_levels: tuple[str, ...] = field(init=False, hash=False, compare=False)
    _pattern: re.Pattern[str] = field(init=False, repr=False, hash=False, compare=False)

    def __post_init__(self) -> None:
        text: object = self.text
        if not isinstance(text, str):
            raise TopicTemplateError(template=repr(text), problem=f"a topic is text, not {type(text).__name__}")
        _check_text(self.text)
        levels = self.text.split("/")
        parameters: dict[str, Converter] = {}
        literals: list[str] = []
        filter_levels: list[str] = []
        pattern = ""
        for index, level in enumerate(levels):
            separator = "/" if index else ""
            last = index == len(levels) - 1
            name, converter = _parse_level(self.text, level)
            if name:
                if name in parameters:
                    raise TopicTemplateError(template=self.text, problem=f"the parameter {name!r} appears twice")
                parameters[name] = converter
            if level == "#" or converter == "path":
                if not last:
                    raise TopicTemplateError(template=self.text, problem=f"{level!r} must be the last level")
                # `sensors/#` also matches `sensors` itself (MQTT 5, 4.7.1.2).
                group = f"(?P<{name}>.*)" if name else ".*"
                pattern += f"(?:{separator}{group})?" if index else group
                filter_levels.append("#")
            elif level == "+" or name:
                pattern += separator + (f"(?P<{name}>[^/]*)" if name else "[^/]*")
                filter_levels.append("+")
            else:
                pattern += separator + re.escape(level)
                filter_levels.append(level)
                literals.append(level)
        store = object.__setattr__
        store(self, "filter", "/".join(filter_levels))
        store(self, "parameters", parameters)
        store(self, "literal_levels", tuple(literals))
        store(self, "_pattern", re.compile(pattern, re.DOTALL))

    def match(self, topic: str) -> dict[str, str] | None:
        """Return the topic's parameters as text, or None when the topic is not of this template.

        A topic that starts with `$` never matches a wildcard in the first level (MQTT 5, 4.7.2).
        """
        if topic.startswith("$") and self.filter[0] in "+#":
            return None
        found = self._pattern.fullmatch(topic)
        if found is None:
            return None
        return found.groupdict("")

    def overlaps(self, other: "TopicTemplate") -> bool:
        """Return whether some topic matches both templates."""
        return filters_overlap(self.filter, other.filter)


def filters_overlap(left: str, right: str) -> bool:
    """Return whether some topic name matches both topic filters."""
    if (left.startswith("$") and right[0] in "+#") or (right.startswith("$") and left[0] in "+#"):
        return False
    ours, theirs = left.split("/"), right.split("/")
    for index in range(max(len(ours), len(theirs)) + 1):
        mine = ours[index] if index < len(ours) else None
        other = theirs[index] if index < len(theirs) else None
        if mine == "#" or other == "#":
            return True
        if mine is None or other is None:
            return mine == other
        if mine != other and "+" not in (mine, other):
            return False
    return True


def share_filter(group: str, topic_filter: str) -> str:
    """Return the shared subscription's filter `$share/<group>/<filter>` (MQTT 5, 4.8.2).

    Raises:
        TopicTemplateError: The group is empty or holds `/`, `+` or `#`, or all is longer than MQTT allows.
    """
    if len(f"$share/{group}/{topic_filter}".encode()) > MAX_TOPIC_BYTES:
        raise TopicTemplateError(
            template=topic_filter, problem=f"with $share and the group it is longer than {MAX_TOPIC_BYTES} bytes"
        )
    if not group or set(group) & set("/+#\0"):
        raise TopicTemplateError(
            template=f"$share/{group}/{topic_filter}", problem="a share name holds no '/', '+', '#' and is not empty"
        )
    return f"$share/{group}/{topic_filter}"


def topic_problem(topic: str) -> str | None:
    """Return why nobody can publish to a topic; None when it is a topic name (MQTT 5, 4.7)."""
    if not topic:
        return "a topic has at least one character"
    if "+" in topic or "#" in topic:
        return "a topic name holds no wildcard"
    if "\0" in topic:
        return "a topic cannot hold the null character"
    try:
        size_bytes = len(topic.encode())
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    return f"longer than {MAX_TOPIC_BYTES} bytes" if size_bytes > MAX_TOPIC_BYTES else None


def _check_text(text: str) -> None:
    if not text:
        raise TopicTemplateError(template=text, problem="a topic has at least one character")
    if "\0" in text:
        raise TopicTemplateError(template=text, problem="a topic cannot hold the null character")
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError as exc:
        raise TopicTemplateError(template=text, problem="it is not valid UTF-8") from exc
    if size_bytes > MAX_TOPIC_BYTES:
        raise TopicTemplateError(template=text, problem=f"longer than {MAX_TOPIC_BYTES} bytes")
    if text.startswith("$share/"):
        raise TopicTemplateError(template=text, problem="write the topic alone and set shared=True on the route")


def _parse_level(template: str, level: str) -> tuple[str, Converter]:
    """Return a level's parameter name, empty when it has none, and its converter."""
    if "{" not in level and "}" not in level:
        if level not in ("+", "#") and ("+" in level or "#" in level):
            raise TopicTemplateError(template=template, problem=f"a wildcard takes a whole level, not {level!r}")
        return "", "str"
    found = _PARAMETER.fullmatch(level)
    if found is None:
        raise TopicTemplateError(template=template, problem=f"a parameter takes a whole level, not {level!r}")
    name, converter = found[1], found[2] if found[2] is not None else "str"
    if not name.isidentifier():
        raise TopicTemplateError(template=template, problem=f"the parameter name {name!r} is not a Python identifier")
    if name in RESERVED_NAMES:
        raise TopicTemplateError(
            template=template,
            problem=f"a parameter cannot be called {name!r}: a controller gets the message's own under that name",
        )
    if converter not in CONVERTERS:
        raise TopicTemplateError(
            template=template, problem=f"unknown converter {converter!r}; there are {', '.join(CONVERTERS)}"
        )
    return name, cast("Converter", converter)
