"""Two routes on one queue and one on its own, which note what they run; the payload says for how long."""

import time

from routemq import Message, RetryPolicy, Router
from tests.applications.execution import note

router = Router()


def run(payload: float, message: Message) -> None:
    note(message.route, id=message.id, attempt=message.attempt)
    time.sleep(payload)


def fail_first(message: Message) -> None:
    note(message.route, id=message.id, attempt=message.attempt)
    if message.attempt == 1:
        raise ValueError("not yet")


router.on("alone/{device}", run, queue="alone", name="alone")
router.on("both/first/{device}", run, queue="both", name="first")
router.on("both/second/{device}", run, queue="both", name="second")
router.on("failing/{device}", fail_first, queue="alone.failing", name="failing", retry=RetryPolicy(base_delay_s=1.0))
