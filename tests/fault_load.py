"""The constant load of a fault run."""

import contextlib
import random
import threading
import time
import uuid
from collections.abc import Iterator, Mapping

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.processes import wait_until
from tests.servers import HOST

TOPIC = "faults"

KINDS = {"succeed": 860, "fail_once": 60, "fail_always": 30, "reject": 30, "expect_int": 18, "kill_worker": 2}
"""What becomes of a message, and how many of a thousand have this fate."""


class Load:
    """Devices that publish numbers with QoS 1 at a constant rate.

    Args:
        kinds: How many of how many are of each kind.

    Attributes:
        kinds: Every number that was published, and its kind.
        acknowledged: The numbers that the MQTT broker has acknowledged.
    """

    def __init__(self, port: int, *, rate: float, chance: random.Random, kinds: Mapping[str, int] = KINDS) -> None:
        self.kinds: dict[int, str] = {}
        self.acknowledged: set[int] = set()
        self._port, self._rate, self._chance, self._kinds = port, rate, chance, kinds
        self._sent: dict[int, MQTTMessageInfo] = {}
        self._stopping = threading.Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"load-{uuid.uuid4().hex[:8]}", protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.max_inflight_messages_set(0)
        self._client.reconnect_delay_set(1, 1)
        self._thread = threading.Thread(target=self._publish, name="load")

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Publish in the block; at its end every message is acknowledged."""
        self._client.connect(HOST, self._port)
        self._client.loop_start()
        self._thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            self._thread.join()
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not self._look(), message="the broker has everything")
            self._client.disconnect()
            self._client.loop_stop()

    def _publish(self) -> None:
        began, kinds, weights = time.monotonic(), list(self._kinds), list(self._kinds.values())
        while not self._stopping.wait(0.02):
            while len(self.kinds) < (time.monotonic() - began) * self._rate:
                number, kind = len(self.kinds), self._chance.choices(kinds, weights)[0]
                way = "alone" if number % 4 == 3 else "shared"
                self.kinds[number] = kind
                self._sent[number] = self._client.publish(f"{TOPIC}/{way}/{kind}/{number}", b"{}", 1)
            self._look()

    def _look(self) -> bool:
        """See what was acknowledged; True if anything is not."""
        new = [number for number, info in self._sent.items() if info.is_published()]
        for number in new:
            del self._sent[number]
        self.acknowledged.update(new)
        return bool(self._sent)
