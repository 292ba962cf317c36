"""The application of the bench: one route, whose controller does nothing but note that it was run."""

import os
from pathlib import Path
from typing import Any

from routemq.batching import Batch
from routemq.routing import Router
from routemq_dev.bench.quick_publisher import TOPIC_TEMPLATE
from routemq_dev.bench.recorder import VARIABLE, RunRecorder

QUEUE = "bench"
BATCH_VARIABLE = "ROUTEMQ_BENCH_BATCH"
"""How many messages the controller takes at once; nothing for one."""

_recorder = RunRecorder(Path(os.environ.get(VARIABLE, "")))


def note(payload: dict[str, Any]) -> None:
    """Note the run."""
    _recorder.note(payload["n"])


def note_all(payloads: list[dict[str, Any]]) -> None:
    """Note each of a batch."""
    for payload in payloads:
        _recorder.note(payload["n"])


router = Router()
_most = int(os.environ.get(BATCH_VARIABLE) or 0)
if _most:
    router.on(TOPIC_TEMPLATE, note_all, shared=True, queue=QUEUE, batch=Batch(max_messages=_most))
else:
    router.on(TOPIC_TEMPLATE, note, shared=True, queue=QUEUE)
