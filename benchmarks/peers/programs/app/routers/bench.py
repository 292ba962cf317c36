"""The package that is called routemq in the public index: two processes, which hold what they are given in memory."""

import work
from routemq.router import Router


async def run(device_id: str, payload: dict, client: object) -> None:
    """Run one message."""
    work.note(payload["n"])


router = Router()
router.on("bench/{device_id}/data", run, qos=1, shared=True, worker_count=2)
