"""Feeds a contestant's queue by its own client: `feed.py MODULE bridge` from MQTT, `feed.py MODULE fill` from lines.

MODULE has `enqueue(topic, payload)`, which may be a coroutine: then many are on their way at a time, as in any
asynchronous program; and `startup()`, if its client wants one.
"""

import asyncio
import importlib
import inspect
import os
import sys
from collections.abc import Iterator

from paho.mqtt import client as paho
from work import READY

AT_A_TIME = 20


def connect(on_message):
    """Subscribe with QoS 1, on_message being told the topic and the text of each message."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="bridge", protocol=paho.MQTTv5)
    client.on_connect = lambda client, *_: client.subscribe("$share/peers/bench/+/data", 1)
    client.on_subscribe = lambda *_: print(READY, flush=True)
    client.on_message = lambda _client, _userdata, message: on_message(message.topic, message.payload.decode())
    client.connect(os.environ["MQTT_BROKER"], int(os.environ["MQTT_PORT"]))
    return client


def lines() -> Iterator[list[str]]:
    """Give topic and payload of each line."""
    for line in sys.stdin:
        yield line.rstrip("\n").split(" ", 1)


async def feed_asynchronously(module, what: str) -> None:
    """Do either with a coroutine."""
    if hasattr(module, "startup"):
        await module.startup()
    if what == "fill":
        waiting = lines()

        async def fill() -> None:
            for topic, payload in waiting:
                await module.enqueue(topic, payload)

        await asyncio.gather(*(fill() for _ in range(AT_A_TIME)))
        return
    loop, arrived = asyncio.get_running_loop(), asyncio.Queue()
    client = connect(lambda *message: loop.call_soon_threadsafe(arrived.put_nowait, message))

    async def pass_on() -> None:
        while True:
            await module.enqueue(*await arrived.get())

    client.loop_start()
    await asyncio.gather(*(pass_on() for _ in range(AT_A_TIME)))


def main(name: str, what: str) -> None:
    """Run the command."""
    module = importlib.import_module(name)
    if inspect.iscoroutinefunction(module.enqueue):
        asyncio.run(feed_asynchronously(module, what))
    elif what == "fill":
        for topic, payload in lines():
            module.enqueue(topic, payload)
    else:
        connect(module.enqueue).loop_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
