"""FastStream, from the MQTT broker into the function: no Redis, and what fails is not tried again."""

import os

import work
from faststream import FastStream
from faststream.mqtt import MQTTBroker, QoS

broker = MQTTBroker(f"mqtt://{os.environ['MQTT_BROKER']}:{os.environ['MQTT_PORT']}", logger=None)
app = FastStream(broker)


@broker.subscriber("bench/+/data", qos=QoS.AT_LEAST_ONCE, shared="peers")
async def run(payload: dict) -> None:
    """Run one message."""
    work.note(payload["n"])


@app.after_startup
async def say_ready() -> None:
    """Tell the bench that it is subscribed."""
    print(work.READY, flush=True)
