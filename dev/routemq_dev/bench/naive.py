"""The bridge that one would write in an afternoon: paho's `on_message`, `apply_async`, a stock Celery worker.

It acknowledges a message before Redis has it, and the worker acknowledges before the message is run.
`python -m routemq_dev.bench.naive` is the bridge, `celery -A routemq_dev.bench.naive worker` the worker.
"""

import os
from pathlib import Path
from typing import Any

import orjson
from celery import Celery, signals
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from routemq.topics import TopicTemplate
from routemq_dev.bench.quick_publisher import TOPIC_TEMPLATE
from routemq_dev.bench.recorder import VARIABLE, RunRecorder

QUEUE = "naive"
READY = "naive bridge is ready"

app: Any = Celery("naive", broker=os.environ.get("REDIS_URL"))
app.conf.update(task_default_queue=QUEUE, task_ignore_result=True, broker_connection_retry_on_startup=True)

_recorder = RunRecorder(Path(os.environ.get(VARIABLE, "")))


def note(_topic: str, payload: str) -> None:
    """Note the run."""
    _recorder.note(orjson.loads(payload)["n"])


task: Any = app.task(name="note")(note)


@signals.worker_ready.connect  # type: ignore[untyped-decorator,unused-ignore]  # Celery has no types
def say_ready(**_signal: Any) -> None:
    """Tell the bench that the worker serves."""
    print(READY, flush=True)


def main() -> None:
    """Run the bridge until it is ended."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="naive", protocol=MQTTProtocolVersion.MQTTv5)

    def on_connect(client: paho.Client, *_: Any) -> None:
        client.subscribe(f"$share/naive/{TopicTemplate(TOPIC_TEMPLATE).filter}", 1)

    def on_message(_client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        task.apply_async((message.topic, message.payload.decode()))

    client.on_connect = on_connect
    client.on_subscribe = lambda *_: print(READY, flush=True)
    client.on_message = on_message
    client.connect(os.environ["MQTT_BROKER"], int(os.environ["MQTT_PORT"]))
    client.loop_forever()


if __name__ == "__main__":
    main()
