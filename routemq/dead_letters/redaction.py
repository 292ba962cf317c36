"""Values that must not be kept in clear: they are taken out of a message before it is buried."""

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from routemq.dead_letters.letter import DeadLetter, text_digest
from routemq.envelope import TaskMessage
from routemq.errors import ConfigurationError, EnvelopeError
from routemq.settings import Settings
from routemq.text import error_line

logger = logging.getLogger(__name__)

REDACTED = "[redacted]"

RedactionHook = Callable[[str, bytes], bytes]
"""Takes the topic and the payload, returns the payload that is kept."""

_LEAST_LENGTH = 4
"""A shorter value would be found by chance in an error's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """What is taken out of a message.

    Attributes:
        fields: Names of JSON fields, in lower case, at any depth of a payload.
        hook: Does whatever the fields cannot.
    """

    fields: frozenset[str] = frozenset()
    hook: RedactionHook | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Redaction | None":
        """Return what the settings ask for, if they ask for anything.

        Raises:
            ConfigurationError: There is no such hook.
        """
        fields = frozenset(name.strip().lower() for name in settings.dlq_redact.split(",") if name.strip())
        hook = None if settings.dlq_redact_hook is None else _load(settings.dlq_redact_hook)
        return cls(fields=fields, hook=hook) if fields or hook else None

    def of_item(self, letter: DeadLetter, item: bytes) -> tuple[DeadLetter, bytes]:
        """Return the letter and the list item that are kept; what is no message is kept as it is."""
        try:
            message = TaskMessage.decode(item)
        except (EnvelopeError, RecursionError):
            return letter, item
        try:
            payload, names, values = self._of_payload(message.envelope.topic, message.envelope.payload)
        # Whatever the hook does, the message must be buried; and what may hold a secret must not be kept.
        except Exception as exc:  # noqa: BLE001
            logger.error(
                "dead letter %s is kept without its payload, redaction failed: %s",
                letter.id, error_line(exc),
            )  # fmt: skip
            payload, names, values = REDACTED.encode(), {"payload"}, set()
        if payload == message.envelope.payload:
            return letter, item
        kept = replace(
            message.edited(payload),
            failures=tuple(replace(failure, error=_without(failure.error, values)) for failure in message.failures),
            show_payload=False,
        )
        traceback = _without(letter.traceback, values)
        letter = replace(
            letter,
            message=_without(letter.message, values),
            traceback=traceback,
            traceback_digest=text_digest(traceback) if traceback else None,
            redacted=tuple(sorted(names)) or ("payload",),
        )
        return letter, kept.encode()

    def of_text(self, payload: bytes, text: str) -> str:
        """Return a text about a payload, such as an error's, without the values of fields that must not be kept."""
        values: set[str] = set()
        try:
            self._of_value(orjson.loads(payload) if self.fields else None, set(), values)
        except orjson.JSONDecodeError:
            return text
        except RecursionError:
            return REDACTED
        return _without(text, values)

    def of_record(self, letter: DeadLetter, record: bytes | None) -> tuple[DeadLetter, bytes]:
        """Likewise for kombu's record of a delivered message; no bytes mean that the record's own are kept."""
        try:
            item = orjson.dumps(orjson.loads(record or b"")[0])
        except (orjson.JSONDecodeError, orjson.JSONEncodeError, TypeError, LookupError):
            return letter, b""
        redacted, kept = self.of_item(letter, item)
        return (redacted, b"" if kept is item else kept)

    def _of_payload(self, topic: str, payload: bytes) -> tuple[bytes, set[str], set[str]]:
        names: set[str] = set()
        values: set[str] = set()
        try:
            document = orjson.loads(payload) if self.fields else None
        except orjson.JSONDecodeError:
            document = None
        if document is not None:
            redacted = self._of_value(document, names, values)
            payload = orjson.dumps(redacted) if names else payload
        return payload if self.hook is None else _hooked(self.hook, topic, payload), names, values

    def _of_value(self, value: Any, names: set[str], values: set[str]) -> Any:
        if isinstance(value, list):
            return [self._of_value(item, names, values) for item in value]
        if not isinstance(value, dict):
            return value
        kept = {}
        for name, item in value.items():
            if name.lower() in self.fields:
                names.add(name)
                values.add(str(item))
                kept[name] = REDACTED
            else:
                kept[name] = self._of_value(item, names, values)
        return kept


def _hooked(hook: RedactionHook, topic: str, payload: bytes) -> bytes:
    # A user's function returns what it likes; what is no bytes would fail where nobody expects it.
    kept: object = hook(topic, payload)
    if not isinstance(kept, bytes):
        raise TypeError(f"DLQ_REDACT_HOOK returned {type(kept).__name__}, not bytes")
    return bytes(kept)


def _without(text: str, values: set[str]) -> str:
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _LEAST_LENGTH:
            text = text.replace(value, REDACTED)
    return text


def _load(name: str) -> RedactionHook:
    module, _, attribute = name.partition(":")
    try:
        hook: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ConfigurationError(
            variable="DLQ_REDACT_HOOK", value=name, allowed=f"package.module:function ({exc})"
        ) from exc
    if not callable(hook):
        raise ConfigurationError(variable="DLQ_REDACT_HOOK", value=name, allowed="a function (topic, payload) -> bytes")
    return hook  # type: ignore[no-any-return]
