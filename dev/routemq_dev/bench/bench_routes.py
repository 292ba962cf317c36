"""The application of the bench: one route, whose controller does nothing but note that it was run."""

import os
from pathlib import Path
from typing import Any

from routemq.routing import Router
from routemq_dev.bench.quick_publisher import TOPIC_TEMPLATE
from routemq_dev.bench.recorder import VARIABLE, RunRecorder

QUEUE = "bench"

_recorder = RunRecorder(Path(os.environ.get(VARIABLE, "")))


def note(payload: dict[str, Any]) -> None:
    """Note the run."""
    _recorder.note(payload["n"])


router = Router()
router.on(TOPIC_TEMPLATE, note, shared=True, queue=QUEUE)
