"""What must not be kept in clear is taken out of a message before it is buried; in doubt, nothing of it is kept.

Longer than other files: what is hidden in one place and forgotten in another is not hidden.
"""

import functools
import hashlib
import re
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from routemq.dead_letters.fingerprint import CAUSED_BY, fingerprint_of
from routemq.dead_letters.hook import GuardedHook, HookError, RedactionHook
from routemq.dead_letters.json_pieces import JsonPieces
from routemq.dead_letters.letter import DeadLetter, text_digest
from routemq.dead_letters.secrets import REDACTED, Secrets, fold, latin, readings
from routemq.envelope import Envelope, TaskMessage
from routemq.errors import ConfigurationError
from routemq.settings import Settings

_MOST_BYTES = 1 << 20
_MOST_COMPARISONS = 200_000
_REMEMBERED = 4
"""A failure is told in the log, to Celery and in the letter, one after the other."""

_PLAIN = re.compile(r"[\w\s.,:+/-]{0,64}")
"""A payload without JSON that can hold no field, such as `Online`."""

_NO_JSON = "it is no JSON in which DLQ_REDACT could look for fields"
_NO_MESSAGE = "it is no message in which DLQ_REDACT could look for fields"
_BRACKETS = " []\"'"
_FIELD = re.compile(r"""[\w.$@/\[\]"'-]+""")
_SEPARATOR = re.compile(r"[^\w-]+")
_NAME = re.compile(r"[\w./\[\]-]+")
_NAME_LENGTH = 100
_NO_SECRETS = {REDACTED, "null", ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """What is kept of a received message.

    Attributes:
        envelope: Without the values.
        names: Where they were.
        secrets: The values.
    """

    envelope: Envelope
    names: frozenset[str]
    secrets: Secrets


@dataclass(slots=True)
class _FoundSecrets:
    """Secrets, while a message is searched for them."""

    values: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)

    def add(self, text: str, *, whole: bool = True) -> None:
        """Add a value, or a text that is not as a `whole` one; and what it says when it is escaped or encoded."""
        (self.values if whole else self.texts).update(readings(text))

    def secrets(self) -> Secrets:
        return Secrets(frozenset(self.values - _NO_SECRETS), frozenset(self.texts - _NO_SECRETS))


class Redaction:
    """Knows what must not be kept.

    Args:
        fields: Names of JSON fields, at any depth of a payload, and of user properties.
        hook: Makes the payload to keep, before the fields are looked for in it.
    """

    def __init__(self, *, fields: Iterable[str] = (), hook: RedactionHook | None = None) -> None:
        # A path names its last part too, wherever that is.
        parts = [part for name in fields for part in (name, _SEPARATOR.split(name.strip(_BRACKETS))[-1])]
        self._fields = frozenset(filter(None, map(_key, parts)))
        self._hook = hook if hook is None or isinstance(hook, GuardedHook) else GuardedHook(hook)
        # Whatever stands between its letters, and in whatever case: `api_key` is `apiKey`.
        written = ("[\\W_]*".join(map(re.escape, name)) for name in sorted(self._fields))
        self._name = re.compile(rf"(?<![^\W_])(?:{'|'.join(written)})(?![^\W_])", re.IGNORECASE)
        self._remembered = functools.lru_cache(maxsize=_REMEMBERED)(self._kept)

    @classmethod
    def of(cls, settings: Settings) -> "Redaction | None":
        """Return what the settings ask for, if they ask for anything.

        Raises:
            ConfigurationError: There is no such hook, or a name that would never be found.
        """
        names = [name for name in map(str.strip, settings.dlq_redact.split(",")) if name]
        for name in names:
            if not _FIELD.fullmatch(name):
                allowed = "names of fields with commas between them; write a blank in a name as _"
                raise ConfigurationError(variable="DLQ_REDACT", value=settings.dlq_redact, allowed=allowed)
        hook = None if settings.dlq_redact_hook is None else GuardedHook.load(settings.dlq_redact_hook)
        return cls(fields=names, hook=hook) if names or hook else None

    def kept(self, envelope: Envelope) -> Redacted:
        """Return what is kept of a message, whatever it holds and whatever the hook does."""
        try:
            return self._remembered(envelope)
        # A message must be buried, and logged, whatever is wrong with it or with this code.
        except Exception as exc:  # noqa: BLE001
            problem = f"looking for its fields failed with {type(exc).__name__}"
            bare = Envelope(topic=envelope.topic, payload=_note(envelope.payload, problem))
            return Redacted(envelope=bare, names=frozenset({"payload"}), secrets=Secrets(are_unknown=True))

    def of_item(self, letter: DeadLetter, item: bytes) -> tuple[DeadLetter, bytes]:
        """Return the letter and the list item that are kept."""
        try:
            message = TaskMessage.decode(item)
            kept = self.kept(message.envelope)
            hide = kept.secrets.hide_line
            message = replace(
                message,
                envelope=kept.envelope,
                failures=tuple(replace(failure, error=hide(failure.error)) for failure in message.failures),
                replays=tuple(replace(replay, error=hide(replay.error)) for replay in message.replays),
                show_payload=False,
            )
            return _without(letter, kept.names, kept.secrets), message.encode()
        # What is no message may hold anything, and must be buried all the same.
        except Exception:  # noqa: BLE001
            return _without(letter, ("message",), Secrets(are_unknown=True)), _note(item, _NO_MESSAGE)

    def of_record(self, letter: DeadLetter, record: bytes) -> tuple[DeadLetter, bytes]:
        """Likewise for kombu's record of a delivered message, `[message, exchange, routing key]`."""
        try:
            item = orjson.dumps(orjson.loads(record)[0])
        except (orjson.JSONDecodeError, orjson.JSONEncodeError, TypeError, LookupError):
            item = record
        return self.of_item(letter, item)

    def of_text(self, envelope: Envelope, text: str) -> str:
        """Return a text about a message, such as an error's, as it may be shown."""
        return self.kept(envelope).secrets.hide(text)

    def hides(self, envelope: Envelope, error: BaseException) -> bool:
        """Say whether a full report of an error about a message, with its arguments and causes, may not be shown."""
        secrets = self.kept(envelope).secrets
        try:
            report = "".join((repr(error), *traceback.format_exception(error)))
        # Its texts are the user's code.
        except Exception:  # noqa: BLE001
            return bool(secrets)
        return secrets.hide(report) != report

    def _kept(self, envelope: Envelope) -> Redacted:
        names: set[str] = set()
        found = _FoundSecrets()
        self._search_properties(envelope, names, found)
        payload, problem, are_unknown = envelope.payload, None, False
        if self._hook is not None:
            try:
                payload = self._hook(envelope.topic, payload)
            except HookError as exc:
                problem = str(exc)
        if payload != envelope.payload:
            gone = _difference(envelope.payload, payload)
            # The fields of what the hook was given are secret too, whatever it has made of them.
            are_unknown = gone is None or self._cut(envelope.payload, set(), found) is None
            found.values |= gone or set()
        cut = self._cut(payload, names, found) if problem is None else None
        if cut is None:
            names.add("payload")
            cut, are_unknown = _note(envelope.payload, problem or _NO_JSON), True
        elif cut != envelope.payload and not names:
            names.add("payload")
        known = found.secrets()
        changes = self._beside(envelope, known, names)
        return Redacted(
            envelope=replace(envelope, payload=cut, **changes),
            names=frozenset("payload" if known.hide(name) != name else name for name in names),
            secrets=replace(known, are_unknown=are_unknown),
        )

    def _search_properties(self, envelope: Envelope, names: set[str], found: "_FoundSecrets") -> None:
        for name, value in envelope.user_properties:
            is_field = self._is_field(name)
            if is_field or self._mentions(value):
                names.add(f"user property {name}")
                found.add(value, whole=is_field)

    def _beside(self, envelope: Envelope, secrets: Secrets, names: set[str]) -> dict[str, Any]:
        """Return what is changed of what travels beside the payload. The topic stays: it is the message's address."""
        changes: dict[str, Any] = {}
        for name in ("content_type", "response_topic"):
            text = getattr(envelope, name) or ""
            if secrets.hide(text) != text:
                changes[name] = None
        data = envelope.correlation_data or b""
        text = f"{latin(data)} {data.decode(errors='replace')}"
        if self._mentions(text) or secrets.hide(text) != text:
            changes["correlation_data"] = None
        names.update(changes)
        if envelope.user_properties:
            properties = []
            for name, value in envelope.user_properties:
                is_shown = not self._is_field(name) and not self._mentions(value) and secrets.hide(value) == value
                properties.append((secrets.hide(name), value if is_shown else REDACTED))
                names.update(() if is_shown else (f"user property {name}",))
            changes["user_properties"] = tuple(properties)
        return changes

    def _cut(self, payload: bytes, names: set[str], found: "_FoundSecrets") -> bytes | None:
        """Return the payload without the fields' values, or None when nobody can tell where these are."""
        if not self._fields:
            return payload
        document = JsonPieces.of(payload) if len(payload) <= _MOST_BYTES else None
        if document is None:
            return payload if self._is_plain(payload) else None
        self._hide_fields(document, names, found)
        document.spread()
        for leaf in document.leaves:
            if leaf.is_hidden and leaf.text not in found.texts:
                found.add(leaf.text)
        secrets = found.secrets()
        if len(secrets) * len(document.leaves) > _MOST_COMPARISONS:
            return None
        # The same value under another name is the same secret.
        is_repeated = secrets.in_other_texts()
        for leaf in document.leaves:
            if not leaf.is_hidden and is_repeated(leaf.text):
                names.add((None if leaf.is_key else leaf.name) or "payload")
                (leaf.inside if leaf.is_key and leaf.inside else leaf).is_hidden = True
        document.spread()
        return document.without_hidden(f'"{REDACTED}"').encode()

    def _hide_fields(self, document: JsonPieces, names: set[str], found: "_FoundSecrets") -> None:
        for part in document.parts:
            if part.name is not None and self._is_field(part.name):
                part.is_hidden = True
                names.add(part.name)
        for leaf in document.leaves:
            if not leaf.is_string or leaf.is_key or leaf.is_hidden:
                continue
            if _NAME.fullmatch(leaf.text) and self._is_field(leaf.text):
                # `{"name": "password", "value": …}`, or a table that has a column of this name.
                names.add(leaf.text)
                around = leaf.inside.inside if leaf.inside is not None and leaf.inside.is_array else None
                (around or leaf.inside or leaf).is_hidden = True
            elif self._mentions(leaf.text):
                leaf.is_hidden = True
                found.add(leaf.text, whole=False)
                names.add(leaf.name or "payload")

    def _is_field(self, name: str) -> bool:
        # Also of a flattened name, `user.password` or `user[password]`.
        return any(_key(part) in self._fields for part in (name, *_SEPARATOR.split(name)))

    def _mentions(self, text: str) -> bool:
        """Say whether one of the names stands in a text: then its value may stand there too."""
        return bool(self._fields) and any(self._name.search(reading) for reading in readings(text))

    def _is_plain(self, payload: bytes) -> bool:
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            return False
        return _PLAIN.fullmatch(text) is not None and not self._mentions(text)


def _key(name: str) -> str:
    """Return what is left of a field's name when it may be written in any manner."""
    return fold(name) or name.strip().casefold()


def _difference(before: bytes, after: bytes) -> set[str] | None:
    """Return the values that a hook has taken out, or None when nobody can tell which."""
    old, new = JsonPieces.of(before), JsonPieces.of(after)
    if old is None or new is None:
        return None
    return {leaf.text for leaf in old.leaves} - {leaf.text for leaf in new.leaves}


def _note(data: bytes, problem: str) -> bytes:
    """Return what is kept instead of what must not be: enough to recognise it by."""
    digest = hashlib.sha256(data).hexdigest()
    return orjson.dumps({"redacted": f"not kept: {problem}", "bytes": len(data), "sha256": digest})


def _without(letter: DeadLetter, names: Iterable[str], secrets: Secrets) -> DeadLetter:
    letter = replace(letter, redacted=tuple(sorted(name[:_NAME_LENGTH] for name in names)))
    if not secrets:
        return letter
    exception, message = secrets.replaced(letter.exception), secrets.hide(letter.message)
    # The frames are code; the texts of the causes are about the message.
    frames, causes, told = letter.traceback.partition(CAUSED_BY)
    frames = secrets.replaced(frames) + causes + secrets.hide(told)
    return replace(
        letter,
        exception=exception,
        message=message,
        traceback=frames,
        traceback_digest=text_digest(frames) if frames else None,
        # Of what is kept: a digest of a short secret could be guessed.
        fingerprint=fingerprint_of(exception, message, frames, topic=letter.topic),
    )
