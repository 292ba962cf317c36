"""No value that must not be kept stands anywhere in a letter, however it was sent and whoever repeats it."""

import base64
import json
import logging
import string
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routemq.dead_letters import DeadLetter
from routemq.dead_letters.hook import GuardedHook
from routemq.dead_letters.redaction import Redaction
from routemq.dead_letters.secrets import REDACTED
from routemq.envelope import Envelope, FailedAttempt, PastReplay, TaskMessage
from routemq.errors import ConfigurationError
from routemq.settings import Settings
from routemq.text import error_line
from tests.processes import PATIENCE_S

FIELDS = ("password", "api_key")
TOPIC = "sensors/d1/data"

# Long and varied enough to stand nowhere by chance.
alphabet = string.ascii_letters + string.digits + " \"'\\/+-_%=:\n\té€пароль"
secrets = st.text(alphabet, min_size=9, max_size=40).filter(
    lambda text: len(set(text)) > 6 and text.strip() and not set(text) <= set("0123456789abcdef")
)
names = st.sampled_from(["password", "Password", "PASSWORD", "api_key", "apiKey", "api-key", "user.password"])

Spelling = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Sent:
    """A message with a secret, and what a controller could say of it."""

    secret: str
    payload: bytes
    document: Any


documents: list[Callable[[str, str], Any]] = [
    lambda name, secret: {name: secret, "n": 1},
    lambda name, secret: {"users": [{"id": 1}, {name: secret}]},
    lambda name, secret: {name: {"old": [secret, 4711.25], secret: None}},
    lambda name, secret: {name: [secret], "echo": secret, "deep": {"copy": f"<{secret}>"}},
    lambda name, secret: [{"name": name, "value": secret}],
    lambda name, secret: {"columns": ["id", name], "rows": [[1, secret]]},
    lambda name, secret: {"body": json.dumps({name: secret})},
    lambda name, secret: {"form": urllib.parse.urlencode({name: secret})},
    lambda name, secret: {"data": base64.b64encode(json.dumps({name: secret}).encode()).decode()},
    lambda name, secret: {"line": f"{name}={secret}"},
]
# Of a document, what is sent: JSON first, then what only looks like it.
spellings: list[Callable[[Any], bytes]] = [
    orjson.dumps,
    lambda document: json.dumps(document, indent=2).encode(),
    lambda document: b'{"a": ' + orjson.dumps(document) + b', "a": 1}',
    lambda document: b"\xef\xbb\xbf" + orjson.dumps(document),
    lambda document: orjson.dumps(document)[:-1] + b", }",
    lambda document: orjson.dumps(document)[:-2],
    lambda document: b'{"t": NaN, "d": ' + orjson.dumps(document) + b"}",
    lambda document: repr(document).encode(),
    lambda document: orjson.dumps(document).decode().encode("utf-16"),
    lambda document: orjson.dumps(document) + b"\n" + orjson.dumps(document),
    lambda document: orjson.dumps(document) + b"\x00",
    lambda document: b"\xff" + orjson.dumps(document),
    lambda document: base64.b64encode(orjson.dumps(document)),
    lambda document: urllib.parse.quote(orjson.dumps(document)).encode(),
    lambda document: f"password: {document!r}".encode(),
]


class Reading(pydantic.BaseModel):
    """What none of these payloads is."""

    temperature: float


def _validated(sent: Sent) -> str:
    try:
        Reading.model_validate(sent.document)
    except pydantic.ValidationError as exc:
        return str(exc)
    return ""


sayings: list[Callable[[Sent], str]] = [
    lambda sent: f"bad password {sent.secret}",
    lambda sent: f"bad password {sent.secret[1:]!r}",
    lambda sent: f"bad password {sent.secret[:6]}…",
    lambda sent: f"cannot take {sent.document!r}",
    lambda sent: f"cannot take {json.dumps(sent.document)}",
    lambda sent: f"cannot take {sent.payload!r}",
    lambda sent: f"cannot take {repr(sent.document)[:40]}...{repr(sent.document)[-40:]}",
    lambda sent: "x" * 1990 + sent.secret + "y" * 1990,
    lambda sent: f"GET /?{urllib.parse.urlencode({'q': sent.secret})}",
    lambda sent: f"Authorization: {base64.b64encode(('user:' + sent.secret).encode()).decode()}",
    lambda sent: f"key {sent.secret.encode().hex()}",
    lambda sent: sent.secret.upper(),
    _validated,
]


class MuteError(Exception):
    """An error that says nothing at all."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class StoreError(Exception):
    """An error whose text says less than its arguments."""

    def __str__(self) -> str:
        return "the store refused"


def _raise(error: BaseException, cause: BaseException | None = None) -> Any:
    raise error from cause


def raised(saying: str) -> Exception:
    """Return an exception with causes that say it too."""
    caught: Exception | None = None
    for error in (KeyError(saying), StoreError(saying), RuntimeError(saying)):
        try:
            _raise(error, caught)
        except (KeyError, StoreError, RuntimeError) as exc:
            caught = exc
    assert caught is not None
    return caught


def leaks(secret: str, kept: str) -> list[str]:
    """Return the parts of a secret, in any notation, that stand in a text and not in that of any other message."""
    notations = {secret, json.dumps(secret)[1:-1], ascii(secret)[1:-1], urllib.parse.quote(secret), secret.upper()}
    notations |= {secret.encode().hex(), base64.b64encode(secret.encode()).decode()[1:-4]}
    notations |= {secret[first : first + 6] for first in range(len(secret) - 5)}
    return sorted(form for form in notations if len(form) > 5 and form.strip() and form in kept and form not in USUAL)


def everything(redaction: Redaction, message: TaskMessage, error: Exception) -> str:
    """Return all that is kept and shown of a message that failed."""
    letter = DeadLetter.of(message, reason="failed", error=error, worker="w@host")
    kept, item = redaction.of_item(letter, message.encode())
    log = error_line(error, hide=lambda text: redaction.of_text(message.envelope, text))
    if not redaction.hides(message.envelope, error):
        log += repr(error) + repr(error.__cause__)
    decoded = TaskMessage.decode(item)
    inside = repr(decoded) + (decoded.envelope.correlation_data or b"").decode("latin-1")
    outside = json.dumps(json.loads(item) | {"body": ""})
    return "\n".join((kept.description().decode(), kept.traceback, kept.error, outside, inside, log))


USUAL = everything(
    Redaction(fields=FIELDS),
    TaskMessage(
        route="r", queue="q", failures=(FailedAttempt(at=1.0, error="no", worker="w"),),
        replays=(PastReplay(at=1.0, by="ana", error="bad password cannot take"),),
        envelope=Envelope(topic=TOPIC, payload=b"{,}", user_properties=(("password", "x"),)),
    ),
    raised("bad password cannot take"),
) + "".join(map(_validated, (Sent("", b"", {}), Sent("", b"", {"columns": ["id", ["users", "echo"]]}))))  # fmt: skip


# What a busy machine does between two steps is no failure.
@settings(deadline=None)
@given(
    secret=secrets, name=names, document=st.sampled_from(documents), spelling=st.sampled_from(spellings),
    saying=st.sampled_from(sayings), earlier=st.sampled_from(sayings),
)  # fmt: skip
def test_a_secret_is_nowhere(
    secret: str,
    name: str,
    document: Callable[[str, str], Any],
    spelling: Callable[[Any], bytes],
    saying: Callable[[Sent], str],
    earlier: Callable[[Sent], str],
) -> None:
    whole = document(name, secret)
    sent = Sent(secret, spelling(whole), whole)
    failed = FailedAttempt(at=1.0, error=error_line(ValueError(earlier(sent))), worker="w")
    message = TaskMessage(
        route="r", queue="q", show_payload=True, failures=(failed,),
        replays=(PastReplay(at=1.0, by="ana", error=earlier(sent)),),
        envelope=Envelope(topic=TOPIC, payload=sent.payload),
    )  # fmt: skip
    assert not leaks(secret, everything(Redaction(fields=FIELDS), message, raised(saying(sent))))


@settings(deadline=None)
@given(secret=secrets, name=names, saying=st.sampled_from(sayings[:3]), number=st.integers(0, 3))
def test_a_secret_is_not_beside_the_payload(secret: str, name: str, saying: Callable[[Sent], str], number: int) -> None:
    beside: dict[str, Any] = [
        {"user_properties": ((name, secret), ("x", "y"))},
        {"user_properties": (("note", f"{name}={secret}"), (secret, "z"))},
        {"response_topic": f"reply/{secret}", "content_type": secret},
        {"correlation_data": secret.encode()},
    ][number]
    payload = orjson.dumps({"echo": secret} if number < 2 else {name: secret})
    message = TaskMessage(route="r", queue="q", envelope=Envelope(topic=TOPIC, payload=payload, **beside))
    error = raised(saying(Sent(secret, payload, None)))
    assert not leaks(secret, everything(Redaction(fields=FIELDS), message, error))


def kept_of(payload: bytes, *, error: str = "no", redaction: Redaction | None = None) -> tuple[DeadLetter, bytes]:
    """Return the letter, and the payload in it."""
    message = TaskMessage(route="r", queue="q", envelope=Envelope(topic=TOPIC, payload=payload))
    letter = DeadLetter.of(message, reason="failed", error=ValueError(error), worker="w")
    letter, item = (redaction or Redaction(fields=FIELDS)).of_item(letter, message.encode())
    return letter, TaskMessage.decode(item).envelope.payload


@pytest.mark.parametrize(
    "setting",
    ["password", " PASSWORD , x", '["password"]', "user.password", "$.user['password']", "user/password"],
)
def test_a_field_is_named_in_many_ways(setting: str) -> None:
    redaction = Redaction.of(Settings(dlq_redact=setting))
    assert kept_of(b'{"user": {"password": "hunter2"}}', redaction=redaction)[1] == (
        b'{"user": {"password": "[redacted]"}}'
    )


@pytest.mark.parametrize("setting", ["password token", "password;token", "password:token", "a,pass word", "password|x"])
def test_a_name_that_would_never_be_found_is_refused(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=r"DLQ_REDACT=.*commas"):
        Redaction.of(Settings(dlq_redact=setting))


def test_all_the_rest_is_kept_as_it_was_written() -> None:
    payload = b'{ "a":1.50, "Password" : {"x": [1]},"b":[1e3, "\\u00e9"], "n": 12345678901234567890123 }'
    letter, kept = kept_of(payload, error="no such sensor")
    assert kept == payload.replace(b'{"x": [1]}', b'"[redacted]"')
    assert letter.redacted == ("Password",)
    assert letter.message == "no such sensor"
    assert kept_of(b'{"temperature": "warm"}', error="warm is no number")[0].message == "warm is no number"
    assert kept_of(b'{"password": "hunter2-x"}', error="wrong: hunter2-x!")[0].message == f"wrong: {REDACTED}!"


@pytest.mark.parametrize("payload", [b"", b"Online", b"21.5", b"off, since 12:30\n", b"null", b'"on"'])
def test_plain_words_are_kept(payload: bytes) -> None:
    letter, kept = kept_of(payload, error=f"cannot take {payload!r}")
    assert (kept, letter.redacted, letter.message) == (payload, (), f"cannot take {payload!r}")


def test_what_cannot_be_searched_is_not_kept_but_can_be_recognised() -> None:
    letter, kept = kept_of(b'{"temperature": NaN}', error="no NaN")
    note = json.loads(kept)
    assert note["redacted"].startswith("not kept: it is no JSON")
    assert (note["bytes"], len(note["sha256"])) == (20, 64)
    assert (letter.redacted, letter.exception, letter.message) == (("payload",), "ValueError", REDACTED)
    # A letter that died again has the note for a payload.
    again, kept = kept_of(kept, error="no number")
    assert (json.loads(kept), again.redacted, again.message) == (note, (), "no number")


def test_what_is_no_message_is_not_kept() -> None:
    letter = DeadLetter.bare(route="r", queue="q", message_id="m", error=ValueError("hunter2"), worker="w")
    letter, item = Redaction(fields=FIELDS).of_item(letter, b'{"password": "hunter2", "body": 1}')
    assert b"hunter2" not in item + letter.description()
    assert letter.redacted == ("message",)


def test_a_fingerprint_is_of_what_is_kept() -> None:
    found = {kept_of(b'{"password": "%s"}' % pin, error=f"wrong {pin.decode()}")[0].fingerprint for pin in PINS}
    assert len(found) == 1


PINS = [b"secret-word", b"another-one", b"third-value"]


async def _coroutine() -> bytes:
    return b"x"


@pytest.mark.parametrize(
    ("hook", "problem"),
    [
        (lambda _topic, payload: payload.decode(), "returned str"),
        (lambda _topic, _payload: None, "returned NoneType"),
        (lambda _topic, payload: bytearray(payload), "returned bytearray"),
        (lambda _topic, _payload: _coroutine(), "returned coroutine"),
        (lambda: b"", "raised TypeError"),
        (lambda _topic, payload: _raise(ValueError(payload)), "raised ValueError"),
        (lambda _topic, _payload: _raise(MuteError()), "raised MuteError"),
        (lambda _topic, _payload: sys.exit(3), "raised SystemExit"),
        (lambda _topic, _payload: _raise(KeyboardInterrupt()), "raised KeyboardInterrupt"),
        (lambda _topic, _payload: _raise(GeneratorExit()), "raised GeneratorExit"),
        (lambda _topic, _payload: time.sleep(5), "did not return within 0.1 s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nothing_is_kept_of_a_payload_that_the_hook_does_not_make(
    hook: Any, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    redaction = Redaction(hook=GuardedHook(hook, patience_s=0.1))
    for number in range(3):
        payload = b'{"secret": "hunter2", "n": %d}' % number
        letter, kept = kept_of(payload, error="cannot take hunter2", redaction=redaction)
        assert b"hunter2" not in kept + letter.description()
        assert letter.redacted == ("payload",)
        assert problem in json.loads(kept)["redacted"] or "has not ended yet" in json.loads(kept)["redacted"]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len([line for line in told if problem in line]) == 1
    assert "hunter2" not in caplog.text


def test_a_hook_that_hangs_is_left_behind_and_called_again_when_it_has_ended() -> None:
    released = threading.Event()

    def hook(_topic: str, payload: bytes) -> bytes:
        released.wait()
        return payload

    guarded = GuardedHook(hook, patience_s=0.5)
    redaction = Redaction(hook=guarded)
    started = time.monotonic()
    assert [kept_of(b"%d" % number, redaction=redaction)[0].redacted for number in range(20)] == [("payload",)] * 20
    # It is waited for once, and not twenty times.
    assert time.monotonic() - started < 10 * 0.5
    assert guarded._left_behind is not None
    released.set()
    guarded._left_behind.join(PATIENCE_S)
    assert kept_of(b"22", redaction=redaction)[1] == b"22"


def test_what_a_hook_takes_out_is_in_no_text_either() -> None:
    redaction = Redaction(hook=lambda _topic, payload: payload.replace(b"Mustermann", b"M."))
    letter, kept = kept_of(b'{"name": "Mustermann", "n": 1}', error="no user Mustermann", redaction=redaction)
    assert kept == b'{"name": "M.", "n": 1}'
    assert letter.message == f"no user {REDACTED}"
    assert kept_of(b'{"n": 1}', error="no n 1", redaction=redaction)[0].message == "no n 1"
    # Nobody can tell what of a text, or of bytes, it was.
    assert kept_of(b"I am Mustermann", error="anything", redaction=redaction)[0].message == REDACTED


def test_fields_are_looked_for_in_what_the_hook_makes() -> None:
    redaction = Redaction(fields=FIELDS, hook=lambda _topic, payload: orjson.dumps({"n": 1, "password": payload.hex()}))
    assert kept_of(b"\x00\xff\x01", redaction=redaction)[1] == b'{"n":1,"password":"[redacted]"}'
    passed_on = Redaction(fields=FIELDS, hook=lambda _topic, payload: payload)
    assert b"hunter2" not in kept_of(b'{"password": "hunter2",}', redaction=passed_on)[1]


def test_large_payloads_are_searched_quickly_or_not_kept() -> None:
    payload = orjson.dumps({"password": "hunter2-x", "rows": [[number, str(number) * 3] for number in range(9_000)]})
    started = time.process_time()
    assert json.loads(kept_of(payload, error="wrong hunter2-x")[1])["password"] == REDACTED
    assert json.loads(kept_of(b"[" + b"1," * 600_000 + b"1]")[1])["redacted"].startswith("not kept")
    many = orjson.dumps([{"password": f"hunter-{number}"} for number in range(2_000)])
    assert b"hunter" not in kept_of(many)[1]
    assert time.process_time() - started < 5


def test_a_hook_whose_module_raises_what_cannot_be_told_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mute_hook.py").write_text(
        "class MuteError(Exception):\n    def __str__(self):\n        raise ValueError\nraise MuteError\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=r"DLQ_REDACT_HOOK.*MuteError"):
        GuardedHook.load("mute_hook:hide")
