"""Lua scripts: read from the files beside this one, run as a whole or refused before they change anything."""

import functools
import json
import logging
import time
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any, TypedDict

import redis

from routemq.errors import RouteMQError
from routemq.text import stored_text

logger = logging.getLogger(__name__)

_REFUSED = "BADKEY "
_FUNCTIONS = {
    "fetch": ("due", "mark"),
    "promote": ("due",),
    "set_aside": ("mark",),
    **dict.fromkeys(["put_back", "restore"], ("mark", "hands")),
    **dict.fromkeys(["bury", "bury_direct", "replay", "import"], ("letters",)),
    **dict.fromkeys(["discard", "undo"], ("letters", "bin")),
}
"""Script → the other files whose functions it uses."""

_WITHOUT_A_LOOK = {"start"}
"""One command is its only one, so it cannot fail half way; and its text is sent each time."""

_REPORT_EVERY_S = 30.0
_MOST_REMEMBERED = 1000


class KeyProblem(TypedDict, total=False):
    """Why a key cannot be used, as `look.lua` says it."""

    key: str
    found: str
    wanted: str
    command: str
    field: str


class UnusableKeyError(RouteMQError, redis.ResponseError):
    """A Redis key is not what RouteMQ keeps under its name, or is not permitted to this user; nothing was changed.

    It passes as soon as the key is mended, so whoever waits while Redis is away may wait for it too.

    Attributes:
        key: The key, with its prefix.
        problem: What is wrong with it.
        mend: What to do.
    """

    def __init__(self, found: KeyProblem) -> None:
        self.key = found["key"]
        self.problem, self.mend = _explain(found)
        super().__init__(f"the Redis key {self.key!r} {self.problem}. Mend: {self.mend}.")

    @classmethod
    def of(cls, error: redis.ResponseError) -> "UnusableKeyError | None":
        """Return what a script meant with its error; None when it was not a refusal."""
        text = str(error)
        if not text.startswith(_REFUSED):
            return None
        # Redis adds the name of the script.
        found, _ = json.JSONDecoder().raw_decode(text, len(_REFUSED))
        return cls(found)


class KeyReports:
    """Logs the keys that scripts go on without: each at once, then now and then until it is mended."""

    def __init__(self) -> None:
        self._not_before: dict[str, float] = {}

    def log_all(self, reported: Sequence[bytes | str]) -> None:
        """Log what a script has reported."""
        for found in reported:
            self.log(UnusableKeyError(json.loads(stored_text(found) if isinstance(found, bytes) else found)))

    def good(self, answers: Iterable[Any], otherwise: Any) -> list[Any]:
        """Return the answers of a pipeline, with another in the place of each about a key of another program.

        Such a key is logged.

        Raises:
            redis.ResponseError: Something else was refused.
        """
        good = []
        for answer in answers:
            if isinstance(answer, UnusableKeyError):
                self.log(answer)
            elif isinstance(answer, Exception):
                raise answer
            good.append(otherwise if isinstance(answer, Exception) else answer)
        return good

    def log(self, error: UnusableKeyError) -> None:
        """Log one key, unless it was logged just now."""
        now = time.monotonic()
        if self._not_before.get(error.key, now) > now:
            return
        if len(self._not_before) >= _MOST_REMEMBERED:
            self._not_before.clear()
        self._not_before[error.key] = now + _REPORT_EVERY_S
        logger.error("left alone: %s", error)


class Script:
    """A script that moves messages. It refuses as a whole, or goes on without a key and reports it.

    Args:
        client: Its script registry; each call is one command.
        reports: Shared by scripts that meet the same keys; by default one of its own.
    """

    def __init__(self, client: "redis.Redis", name: str, *, reports: KeyReports | None = None) -> None:
        self._script = client.register_script(script_text(name))
        self._reports = reports or KeyReports()

    def __call__(self, *, keys: Sequence[str], args: Sequence[str | bytes | float]) -> Any:
        """Run it and return its answer.

        Raises:
            UnusableKeyError: Nothing was changed, and nothing can be before the key is mended.
            redis.RedisError: Redis is away, or refuses.
        """
        try:
            answered = self._script(keys=keys, args=args)
        except redis.ResponseError as exc:
            raise (UnusableKeyError.of(exc) or exc) from None
        return self.read(answered)

    def command(self, *, keys: Sequence[str], args: Sequence[str | bytes | float]) -> tuple[Any, ...]:
        """Return the command for a Redis that knows the script; `read` reads its answer."""
        return ("EVALSHA", self._script.sha, len(keys), *keys, *args)

    def read(self, answered: Any) -> Any:
        """Return the answer, and log what was reported with it."""
        answer, reported = answered
        self._reports.log_all(reported)
        return answer


@functools.cache
def script_text(name: str, *, package: str = __package__) -> str:
    """Return the script `name`.lua, complete.

    Args:
        package: Where the file is, when it is not one that moves messages.
    """
    text = _read(name, package)
    if package != __package__ or name in _WITHOUT_A_LOOK:
        return text
    # Redis reads the flags from the first line alone.
    shebang, _, body = text.partition("\n")
    functions = [_read(part, package) for part in ("look", *_FUNCTIONS.get(name, ()))]
    return "\n".join([shebang, *functions, body])


def _read(name: str, package: str) -> str:
    return (resources.files(package) / f"{name}.lua").read_text("utf-8")


def _explain(found: KeyProblem) -> tuple[str, str]:
    if "found" in found:
        return (
            f"is a {found['found']} where RouteMQ keeps a {found['wanted']}",
            "rename or delete it, or give RouteMQ keys of its own with ROUTEMQ_KEY_PREFIX",
        )
    if "command" in found:
        return (
            f"may not be changed by this Redis user: no permission for {found['command']}",
            "give the user of REDIS_URL this command and the keys under ROUTEMQ_KEY_PREFIX (ACL SETUSER)",
        )
    return (
        f"holds no number in its field {found['field']!r}, or one that is too large",
        "delete the field, or the key",
    )
