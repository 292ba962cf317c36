"""A Redis client that names the key which is not what it is taken for; Redis itself says only that there is one."""

from typing import Any, cast

import redis
from redis.client import Pipeline

from routemq.lifecycle.scripts import UnusableKeyError
from routemq.refusals import code_of

_SCRIPTS = ("EVAL", "EVALSHA")
_KINDS = {"H": "hash", "Z": "zset", "L": "list", "R": "list", "S": "set", "X": "stream", "G": "string", "B": "string"}
"""What a command wants, by its first letter."""
_OTHER = "value of another type"


class RedisClient(redis.Redis):
    """redis-py's client; a command on another program's key raises `UnusableKeyError`."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command."""
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except redis.ResponseError as exc:
            named = _named(self.connection_pool, exc, args)
            if named is None:
                raise
            raise named from exc

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> "Pipeline":
        """Return a pipeline that does so too."""
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class _Pipeline(Pipeline):
    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands = [command[0] for command in self.command_stack]
        answers: list[Any] = super().execute(raise_on_error=False)
        for index, answer in enumerate(answers):
            if isinstance(answer, redis.ResponseError) and index < len(commands):
                answers[index] = _named(self.connection_pool, answer, commands[index]) or answer
        if raise_on_error:
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers


def _named(
    pool: "redis.ConnectionPool", error: redis.ResponseError, command: tuple[Any, ...]
) -> redis.ResponseError | None:
    if code_of(error) != "WRONGTYPE" or len(command) < 2:
        return None
    name = str(command[0]).upper()
    is_script = name in _SCRIPTS
    keys = [
        key.decode(errors="replace") if isinstance(key, bytes) else str(key)
        for key in (command[3 : 3 + int(command[2])] if is_script else command[1:2])
    ]
    if len(keys) != 1:
        return redis.ResponseError(f"{error} (one of the keys {', '.join(map(repr, keys))})")
    try:
        found = cast("bytes", redis.Redis(connection_pool=pool).type(keys[0])).decode()
    except redis.RedisError:
        found = _OTHER
    wanted = _OTHER if is_script else _KINDS.get(name[0], _OTHER)
    return UnusableKeyError({"key": keys[0], "found": found, "wanted": wanted})
