"""Kubernetes: a kustomize tree with a base, overlays for one region and three, components for what not all want."""

import json

from routemq_ops.manifests.deployment import Deployment, QueueWorker, filled, quoted

REGIONS = {"us-east": "us_east_workers", "eu-west": "eu_west_workers", "asia": "asia_workers"}
"""Name of a region in Kubernetes → its group."""

_MESSAGES_PER_HAND = 20
_WORKER_MI, _HAND_MI, _MOST_HAND_MI = 128, 32, 256
"""Memory of a worker, and of each of its children; at most."""

_AS_THEY_ARE = (
    "archive/kustomization.yaml", "archive/volume.yaml", "servers/kustomization.yaml", "servers/mosquitto.conf",
    "servers/mosquitto.yaml", "servers/redis.yaml", "one-region/kustomization.yaml", "one-region/namespace.yaml",
    "base/network.yaml",
)  # fmt: skip


def kubernetes_files(deployment: Deployment) -> dict[str, str]:
    """Return the files, by their path."""
    workers = deployment.workers
    found = {path: _filled(path) for path in _AS_THEY_ARE}
    for path in ("base/ingest.yaml", "base/flower.yaml", "base/settings.env"):
        found[path] = _filled(path, image=quoted(deployment.image), grace_s=deployment.grace_s)
    found["base/kustomization.yaml"] = _filled("base/kustomization.yaml", resources=_resources(workers))
    for worker in workers:
        found[f"base/{worker.name}.yaml"] = _worker(worker, deployment)
    found["keda/kustomization.yaml"] = _filled("keda/kustomization.yaml", resources=_resources(workers))
    for worker in workers:
        triggers = "\n".join(_trigger(worker, queue) for queue in worker.served)
        found[f"keda/{worker.name}.yaml"] = _filled("keda/worker.yaml", name=worker.name, triggers=triggers)
    found["three-regions/kustomization.yaml"] = _filled(
        "three-regions/kustomization.yaml",
        first=next(iter(REGIONS)), regions="\n".join(f"  - {region}" for region in REGIONS),
    )  # fmt: skip
    for region, group in REGIONS.items():
        found[f"three-regions/{region}/namespace.yaml"] = _filled("three-regions/namespace.yaml", region=region)
        found[f"three-regions/{region}/kustomization.yaml"] = _filled(
            "three-regions/region.yaml",
            region=region, group=group,
        )  # fmt: skip
    return {path: text + "\n" for path, text in sorted(found.items())}


def _worker(worker: QueueWorker, deployment: Deployment) -> str:
    return _filled(
        "base/worker.yaml",
        name=worker.name,
        queue=quoted(worker.queue),
        # Of a command Kubernetes fills in $(NAME), and makes one dollar of two.
        argument=quoted(worker.queue.replace("$", "$$")),
        hands=worker.hands,
        image=quoted(deployment.image),
        stop_s=deployment.stop_s,
        memory_mi=_WORKER_MI + _HAND_MI * worker.hands,
        most_memory_mi=_WORKER_MI + _MOST_HAND_MI * worker.hands,
    )


def _trigger(worker: QueueWorker, queue: str) -> str:
    value = quoted(f"routemq_queue_unfinished{{queue={json.dumps(queue, ensure_ascii=False)}}}")
    return _filled("keda/trigger.yaml", value=value, hands=worker.hands, target=_MESSAGES_PER_HAND * worker.hands)


def _resources(workers: "list[QueueWorker] | tuple[QueueWorker, ...]") -> str:
    return "\n".join(f"  - {worker.name}.yaml" for worker in workers)


def _filled(path: str, **fields: object) -> str:
    return filled(f"kubernetes/{path}", **fields)
