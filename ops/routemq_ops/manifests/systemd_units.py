"""systemd: one unit for all of a host, or a target with ingest and a worker for each queue."""

import re
from pathlib import PurePath

from routemq.errors import RouteMQError
from routemq_ops.manifests.deployment import Deployment, filled

_PLAIN = re.compile(r"[a-zA-Z0-9:_.]")
_UNITS = ("routemq.service", "routemq.target", "routemq-ingest.service", "routemq-worker@.service")
_LONGEST_NAME = 255
"""Of a unit; a letter that is not ASCII takes eight of them, or more."""


class UnitNameTooLongError(RouteMQError):
    """systemd has no name for the unit of a queue, and would leave its worker out."""

    def __init__(self, *, queue: str, characters: int) -> None:
        self.queue, self.characters = queue, characters
        super().__init__(
            f"the queue {queue!r} is too long for systemd: the name of its unit would have {characters} characters, "
            f"of {_LONGEST_NAME} at most; give its routes another queue="
        )


def systemd_files(deployment: Deployment, *, project: PurePath, environment: PurePath) -> dict[str, str]:
    """Return the units, by their file's name.

    Args:
        project: The application's folder.
        environment: Where Python and our commands are installed.

    Raises:
        UnitNameTooLongError: A queue's name is too long for a unit.
    """
    workers = [_unit(worker.queue).replace("%", "%%") for worker in deployment.workers]
    fields = {
        "project": str(project).replace("%", "%%"),
        "venv": str(environment).replace("%", "%%").replace(" ", r"\x20"),
        "grace_s": deployment.grace_s,
        "stop_s": deployment.stop_s,
        "hardening": filled("systemd/hardening"),
        "workers": " ".join(workers),
        "units": " ".join(["routemq-ingest.service", *workers]),
    }
    return {name: filled(f"systemd/{name}", **fields) + "\n" for name in _UNITS}


def _unit(queue: str) -> str:
    name = f"routemq-worker@{escaped(queue)}.service"
    if len(name) > _LONGEST_NAME:
        raise UnitNameTooLongError(queue=queue, characters=len(name))
    return name


def escaped(text: str) -> str:
    """Return a text as the instance of a unit, as `systemd-escape` does."""
    marks = []
    for position, byte in enumerate(text.encode()):
        mark = chr(byte)
        if mark == "/":
            marks.append("-")
        elif _PLAIN.fullmatch(mark) and not (mark == "." and position == 0):
            marks.append(mark)
        else:
            marks.append(f"\\x{byte:02x}")
    return "".join(marks)
