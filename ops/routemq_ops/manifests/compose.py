"""Compose: the sample application's file, with a service for each queue of yours in place of its own."""

import json
import re
from pathlib import Path

from routemq_ops.manifests.deployment import Deployment, QueueWorker, quoted

FILE = "docker-compose.yml"
IMAGE = "routemq-sample"

# A wheel takes it along; in a checkout it is where Compose looks for it.
_OF_WHEEL = Path(__file__).with_name("templates") / FILE
_OF_CHECKOUT = Path(__file__).parents[3] / FILE

_WORKER = re.compile(r"^  (worker-[\w.-]+):\n(?:(?:    .*)?\n)*?(?=^ {0,3}\S|\Z)", re.MULTILINE)
_QUEUE = re.compile(r'"-Q", ("(?:[^"\\]|\\.)*")')
_GRACE, _STOP = "${SHUTDOWN_GRACE_S:-60}", "${WORKER_STOP_GRACE:-90s}"
_LONGER_S = 30
_MEMORY_MB, _WORKER_MB, _HAND_MB = 512, 128, 64
"""What the sample's workers may have; a worker with many children, and each of these."""


def compose_file(deployment: Deployment) -> str:
    """Return the file; a service of the sample that serves just the same queue stays as it is, the others go."""
    text = (_OF_WHEEL if _OF_WHEEL.is_file() else _OF_CHECKOUT).read_text("utf-8")
    found = list(_WORKER.finditer(text))
    made = {worker.name for worker in deployment.workers}
    kept, blocks = set[str](), []
    for block in found:
        served = [worker for worker in deployment.workers if _serves(block[0], worker)]
        if len(served) == 1 and (block[1] == served[0].name or block[1] not in made):
            kept.add(served[0].name)
            blocks.append(_with_room(block[0], served[0]))
    blocks += [_made(found[0], worker) for worker in deployment.workers if worker.name not in kept]
    text = text[: found[0].start()] + "".join(blocks) + text[found[-1].end() :]
    text = text.replace(_GRACE, _GRACE.replace("60", str(deployment.grace_s)))
    text = text.replace(_STOP, _STOP.replace("90", str(deployment.grace_s + _LONGER_S)))
    return text if deployment.image == IMAGE else text.replace(f"image: {IMAGE}", f"image: {quoted(deployment.image)}")


def _serves(block: str, worker: QueueWorker) -> bool:
    """Whether it asks for this queue, or for one over it."""
    named = _QUEUE.search(block)
    queue = json.loads(named[1]) if named else None
    return worker.queue == queue or worker.queue.startswith(f"{queue}.")


def _made(model: "re.Match[str]", worker: QueueWorker) -> str:
    # What is for Compose to fill in begins with a dollar.
    queue = quoted(worker.queue.replace("$", "$$"))
    return _with_room(_QUEUE.sub(lambda _: f'"-Q", {queue}', model[0].replace(model[1], worker.name)), worker)


def _with_room(block: str, worker: QueueWorker) -> str:
    """Give a worker of many hands more memory than the others: at the limit the kernel kills what asks for more."""
    memory_mb = _WORKER_MB + _HAND_MB * worker.hands
    if memory_mb <= _MEMORY_MB:
        return block
    return block.replace("    <<: *worker\n", f"    <<: *worker\n    mem_limit: ${{WORKER_MEMORY:-{memory_mb}m}}\n")
