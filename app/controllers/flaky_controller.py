import random

from pydantic import BaseModel, PositiveInt

from routemq import Controller

FAILURE_RATE = 0.3
"""Of a single run; a message is dead after three, so 2.7 % of the messages die. 0 mends it."""


class Job(BaseModel):
    amount: PositiveInt


class FlakyController(Controller):
    @staticmethod
    async def run(job_id: str, payload: Job) -> None:
        """Fail now and then, as a service on the other side of a network does."""
        if random.random() < FAILURE_RATE:
            raise ConnectionError(f"job {job_id} ({payload.amount}): the payment service does not answer")
