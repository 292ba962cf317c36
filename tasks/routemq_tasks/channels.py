"""The pub/sub channels of Celery's that a worker uses, and whether its Redis user may use them."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import redis
from celery.worker.consumer import Control, Events, Gossip, Mingle

from routemq.settings import Settings

if TYPE_CHECKING:
    from celery.bootsteps import StartStopStep

_LOOK = """#!lua flags=allow-oom
for index = 1, #ARGV, 2 do
  local command, channel = ARGV[index], ARGV[index + 1]
  local may
  if command == 'PUBLISH' then
    may = redis.acl_check_cmd(command, channel, '')
  else
    may = redis.acl_check_cmd(command, channel)
  end
  if not may then
    return {command, channel}
  end
end
"""


def check_channels(client: "redis.Redis", settings: Settings, steps: "Iterable[StartStopStep]") -> None:
    """Look before kombu does, which is told of a refusal without a name, and connects again and again.

    Args:
        steps: What the worker's consumer consists of.

    Raises:
        redis.exceptions.NoPermissionError: Names the command and the channel.
    """
    wanted = [word for pair in _wanted(f"{settings.key_prefix}/{settings.redis.database}.", steps) for word in pair]
    refused = client.eval(_LOOK, 0, *wanted) if wanted else None
    if refused:
        command, channel = (word.decode() for word in refused)
        raise redis.exceptions.NoPermissionError(
            f"NOPERM {command} to the channel {channel!r}: +{command.lower()}, and &* or this channel word for word"
        )


def _wanted(prefix: str, steps: "Iterable[StartStopStep]") -> Iterator[tuple[str, str]]:
    for step in steps:
        if isinstance(step, Control):
            yield "PSUBSCRIBE", f"{prefix}celery.pidbox"
        elif isinstance(step, Mingle):
            yield "PUBLISH", f"{prefix}celery.pidbox"
        elif isinstance(step, Events):
            yield "PUBLISH", f"{prefix}celeryev/worker.online"
        elif isinstance(step, Gossip):
            yield "PSUBSCRIBE", f"{prefix}celeryev/worker.*"
