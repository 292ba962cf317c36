"""potatoq, over Redis."""

import os

import work
from potatoq import Potatoq

app = Potatoq("with_potatoq", broker=os.environ["REDIS_URL"])


@app.task
def run(topic: str, payload: str) -> None:
    """Run one message."""
    work.run(topic, payload)


enqueue = run.delay
