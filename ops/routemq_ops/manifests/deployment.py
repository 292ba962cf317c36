"""What is to be deployed: a worker for each queue of an application, and what is the same for all formats."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

_FIELD = re.compile(r"\{\{(\w+)\}\}")
_NO_NAME = re.compile(r"[^a-z0-9]+")
_LONGEST_NAME = 40
"""Of 63 that a label of DNS may have: Kubernetes appends to it."""

_GIVE_BACK_S = 15
"""After SHUTDOWN_GRACE_S: how long a worker has to give back what it could not end, with time to spare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueWorker:
    """The Celery worker of a queue, and of those under it.

    Attributes:
        name: `worker-…`, a label of DNS.
        hands: Messages at once.
        served: Its own queue, where there is one, and those under it.
    """

    name: str
    queue: str
    hands: int
    served: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """An application, as it is to be deployed.

    Attributes:
        grace_s: How long a worker that is told to end may go on with what it runs.
    """

    workers: tuple[QueueWorker, ...]
    image: str
    grace_s: int

    @property
    def stop_s(self) -> int:
        """How long a stop may take before it is forced."""
        return self.grace_s + _GIVE_BACK_S


def queue_workers(heads: Mapping[str, int], known: Iterable[str]) -> tuple[QueueWorker, ...]:
    """Return the workers of these queues.

    Args:
        heads: Queue → messages at once; see `worker_queues`.
        known: All queues.
    """
    found, taken, queues = [], set[str](), sorted(known)
    # Those whose name needs no change keep it, whatever else there is.
    for queue in sorted(heads, key=lambda head: (_label(head) != head, head)):
        label = _label(queue)
        if not label or label in taken:
            label = f"{label}-{hashlib.sha256(queue.encode()).hexdigest()[:8]}".strip("-")
        taken.add(label)
        under = tuple(name for name in queues if name == queue or name.startswith(queue + "."))
        found.append(QueueWorker(name=f"worker-{label}", queue=queue, hands=heads[queue], served=under))
    return tuple(sorted(found, key=lambda worker: worker.queue))


def filled(path: str, **fields: object) -> str:
    """Return a template of this package with its fields filled in, and without a line break at its end."""
    text = files(__package__).joinpath("templates", *path.split("/")).read_text("utf-8")
    return _FIELD.sub(lambda found: str(fields[found[1]]), text).rstrip("\n")


def quoted(text: str) -> str:
    """Return a text as a string of YAML: not JSON's, for two escapes that make one character are an error there."""
    escapes = {'"': '\\"', "\\": "\\\\"}
    return f'"{"".join(escapes.get(mark) or _escaped(mark) for mark in text)}"'


def _escaped(mark: str) -> str:
    return mark if mark.isprintable() else f"\\U{ord(mark):08x}"


def _label(queue: str) -> str:
    return _NO_NAME.sub("-", queue.lower())[:_LONGEST_NAME].strip("-")
