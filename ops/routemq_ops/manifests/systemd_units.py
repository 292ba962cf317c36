"""systemd: one unit for all of a host, or a target with ingest and a worker for each queue."""

import re
from pathlib import PurePath

from routemq_ops.manifests.deployment import Deployment, filled

_PLAIN = re.compile(r"[a-zA-Z0-9:_.]")
_UNITS = ("routemq.service", "routemq.target", "routemq-ingest.service", "routemq-worker@.service")


def systemd_files(deployment: Deployment, *, project: PurePath, environment: PurePath) -> dict[str, str]:
    """Return the units, by their file's name.

    Args:
        project: The application's folder.
        environment: Where Python and our commands are installed.
    """
    workers = [f"routemq-worker@{escaped(worker.queue)}.service".replace("%", "%%") for worker in deployment.workers]
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
