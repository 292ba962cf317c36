"""mayu, whose core is in Rust."""

import os

import work
from mayu import App

app = App(broker=os.environ["REDIS_URL"])


@app.task
def run(topic: str, payload: str) -> None:
    """Run one message."""
    work.run(topic, payload)


enqueue = run.send
