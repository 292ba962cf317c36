"""Messages per second from the MQTT broker into Redis, beside a naive bridge in the same run.

    .venv/bin/python -m benchmarks.ingest [--messages 50000] [--rounds 5]

Each round has a backlog of QoS 1 messages waiting in a persistent session, and measures from the first to the last
one that is in Redis. The naive bridge is paho's `on_message` with Celery's `send_task`, and a tenth of the messages.
Then single messages measure the latency, from before the publish until the message is in Redis.
"""

import argparse
import base64
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.mqtt_peer import Peer
from tests.processes import clean_environment
from tests.servers import HOST, Mosquitto, Redis, find_program

TOPIC, QUEUE = "sensors/d1/data", "sensors.data"
NUMBER = re.compile(r"n\W+([0-9]{7})\b")
LATE = 9_000_000
"""From here on number the messages that come singly; a backlog does not come so far."""
LONGEST_S = 60

ROUTES = """
from routemq import Router

router = Router()
router.on("sensors/{device_id}/data", "nowhere:Controller.method", shared=True)
"""

NAIVE = """
import os
from celery import Celery
from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

app = Celery(broker=os.environ["REDIS_URL"])
client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="naive", protocol=paho.MQTTv5)

def on_connect(client, userdata, flags, reason, properties):
    client.subscribe("$share/bench/sensors/+/data", 1)

def on_subscribe(*_):
    print("ingest is ready", flush=True)

def on_message(client, userdata, message):
    app.send_task("naive", [message.topic, message.payload.decode()], queue="sensors.data", ignore_result=True)

client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
session = Properties(PacketTypes.CONNECT)
session.SessionExpiryInterval, session.ReceiveMaximum = 600, 2000
client.connect("127.0.0.1", int(os.environ["MQTT_PORT"]), clean_start=False, properties=session)
client.loop_forever()
"""


@contextmanager
def process(command: list[str], folder: Path, environment: dict[str, str], *, ready: bool) -> Iterator[None]:
    with (folder / "output").open("wb") as output:
        running = subprocess.Popen(
            command, cwd=folder, env=clean_environment(environment), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        while ready and "ingest is ready" not in (folder / "output").read_text("utf-8"):
            if running.poll() is not None:
                raise RuntimeError((folder / "output").read_text("utf-8"))
            time.sleep(0.02)
        yield
    finally:
        running.terminate()
        running.wait()


def backlog(port: int, messages: int) -> None:
    lines = "".join(f'{{"temperature": 21.5, "humidity": 40, "n":{n:07d}}}\n' for n in range(messages))
    command = [find_program("mosquitto_pub"), "-V", "5", "-h", HOST, "-p", str(port), "-q", "1", "-t", TOPIC, "-l"]
    subprocess.run(command, input=lines, encoding="utf-8", check=True)


def number_of(item: bytes) -> int:
    return int(NUMBER.findall(base64.b64decode(json.loads(item)["body"]).decode())[-1])


def numbers(client: redis.Redis) -> list[int]:
    return [number_of(item) for item in client.lrange(QUEUE, 0, -1)]


def drain_rate(client: redis.Redis, messages: int) -> float:
    while not (first := client.llen(QUEUE)):
        time.sleep(0.001)
    began = time.perf_counter()
    deadline = began + 2 * LONGEST_S
    doubled = 0
    while True:
        while (there := client.llen(QUEUE) - doubled) < messages:
            if time.perf_counter() > deadline:
                raise RuntimeError(f"only {there} of {messages} arrived")
            time.sleep(0.002)
        elapsed_s = time.perf_counter() - began
        found = numbers(client)
        # One that came twice stands for none that is still to come.
        doubled = len(found) - len(set(found))
        if len(found) - doubled >= messages:
            return (messages - first) / elapsed_s


def latencies_ms(client: redis.Redis, port: int, count: int) -> list[float]:
    peer = Peer(port).connect()
    found = []
    for number in range(LATE, LATE + count):
        began = time.perf_counter()
        peer.client.publish(TOPIC, f'{{"temperature": 21.5, "n":{number:07d}}}', 1)
        while True:
            item = client.brpop(QUEUE, LONGEST_S)
            if item is None:
                raise RuntimeError(f"message {number} did not arrive")
            # One of the backlog may come again.
            if number_of(item[1]) == number:
                break
        found.append((time.perf_counter() - began) * 1000)
    peer.close()
    return sorted(found)


def measure(
    command: list[str],
    folder: Path,
    broker: Mosquitto,
    store: Redis,
    *,
    rounds: int,
    messages: int,
    say: Callable[[str], None],
) -> dict[str, float]:
    environment = {
        "MQTT_BROKER": HOST,
        "MQTT_PORT": str(broker.port),
        "REDIS_URL": store.url,
        "MQTT_GROUP_NAME": "bench",
    }
    client = store.client()
    rates: list[float] = []
    lost = doubled = 0
    for _ in range(rounds):
        client.flushall()
        with process(command, folder, environment, ready=True):
            pass
        backlog(broker.port, messages)
        with process(command, folder, environment, ready=False):
            rates.append(drain_rate(client, messages))
            time.sleep(0.2)
        there = numbers(client)
        lost, doubled = lost + messages - len(set(there)), doubled + len(there) - len(set(there))
        say(f"{rates[-1]:,.0f} messages/s")
    client.flushall()
    with process(command, folder, environment, ready=True):
        took = latencies_ms(client, broker.port, 500)
    client.close()
    return {
        "median": statistics.median(rates),
        "least": min(rates),
        "most": max(rates),
        "p50_ms": took[len(took) // 2],
        "p95_ms": took[len(took) * 95 // 100],
        "p99_ms": took[len(took) * 99 // 100],
        "lost": lost,
        "doubled": doubled,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package = folder / "app" / "routers"
        package.mkdir(parents=True)
        for part in (package.parent, package):
            (part / "__init__.py").touch()
        (package / "sensors.py").write_text(ROUTES, encoding="utf-8")
        (folder / "naive.py").write_text(NAIVE, encoding="utf-8")
        results = {}
        for peer, command, messages in (
            ("naive", [sys.executable, "naive.py"], options.messages // 10),
            ("routemq", [sys.executable, "-m", "routemq", "ingest"], options.messages),
        ):
            broker = Mosquitto(directory=folder / f"{peer}-broker", persistence=False)
            store = Redis(directory=folder / f"{peer}-redis")
            broker.start()
            store.start()
            try:
                results[peer] = measure(
                    command, folder, broker, store, rounds=options.rounds, messages=messages,
                    say=lambda text, peer=peer: print(f"{peer}: {text}", file=sys.stderr),
                )  # fmt: skip
            finally:
                broker.stop()
                store.stop()
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
