"""Which worker has which queues, and how many hands."""

from collections.abc import Mapping

from routemq.queues import expand_queues


def worker_queues(queues: Mapping[str, int]) -> dict[str, int]:
    """Return the queues to name to one worker each, with their concurrency.

    The worker of `sensors` also consumes `sensors.data`, so that queue needs no worker of its own.
    """
    heads: dict[str, int] = {}
    for queue in sorted(queues):
        if not any(queue.startswith(head + ".") for head in heads):
            heads[queue] = sum(queues[name] for name in expand_queues([queue], queues))
    return heads


def share_out(hands: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Share `hands` out by weight, at least one for each; the largest remainders get what is left over.

    Raises:
        ValueError: `hands` is less than one.
    """
    if hands < 1:
        raise ValueError(f"num_workers={hands}: use a whole number from 1")
    total = sum(weights.values())
    shares = {name: max(1, hands * weight // total) for name, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda name: hands * weights[name] % total, reverse=True)
    for name in by_remainder[: max(0, hands - sum(shares.values()))]:
        shares[name] += 1
    return shares
