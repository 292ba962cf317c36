"""Publish a fleet's messages at an even rate, and count what the MQTT broker confirms."""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion

from routemq.errors import RouteMQError
from routemq.settings import Settings
from routemq.supervision.stop import Stop
from routemq.upstream.mqtt_client import mqtt_client
from routemq_dev.sample_fleet import SampleFleet

MAX_UNCONFIRMED = 2000
"""Messages on their way to the broker; a slow broker slows the fleet down instead of filling this process's memory."""
_CONNECT_TIMEOUT_S = 10.0
_TICK_S = 0.01
_LONGEST_CATCH_UP_S = 0.25


class BrokerUnreachableError(RouteMQError):
    """There is no MQTT broker at the address of the settings, or it refuses the fleet."""

    def __init__(self, *, host: str, port: int, problem: str) -> None:
        self.host, self.port, self.problem = host, port, problem
        super().__init__(
            f"the MQTT broker at {host}:{port} cannot be used: {problem}. Mend: start it, or correct MQTT_BROKER and "
            "MQTT_PORT; `routemq dev` brings one along."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the fleet is.

    Attributes:
        published: Messages handed to the network.
        confirmed: Of these, how many the broker has acknowledged.
        elapsed_s: Since the first.
    """

    published: int
    confirmed: int
    elapsed_s: float


class Simulation:
    """One connection, MQTT 3.1.1 as most devices speak it, QoS 1; lost connections are taken up again."""

    def __init__(self, settings: Settings, fleet: SampleFleet) -> None:
        self._settings, self._fleet = settings, fleet
        self._published = self._confirmed = 0
        self._started = time.monotonic()
        self._connected = threading.Event()
        self._refusal = "it does not answer"
        self._client = mqtt_client(
            settings,
            client_id=f"fleet-{uuid.uuid4().hex[:12]}",
            protocol=MQTTProtocolVersion.MQTTv311,
            persistent=False,
        )
        self._client.max_inflight_messages_set(MAX_UNCONFIRMED)
        self._client.reconnect_delay_set(1, 5)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish

    @property
    def progress(self) -> Progress:
        """A snapshot."""
        return Progress(
            published=self._published, confirmed=self._confirmed, elapsed_s=time.monotonic() - self._started
        )

    def connect(self) -> None:
        """Connect.

        Raises:
            BrokerUnreachableError: There is no broker, or it refuses the fleet.
        """
        host, port = self._settings.mqtt_broker, self._settings.mqtt_port
        try:
            self._client.connect(host, port, keepalive=self._settings.mqtt_keepalive_s)
        except OSError as exc:
            raise BrokerUnreachableError(host=host, port=port, problem=exc.strerror or str(exc)) from exc
        self._client.loop_start()
        if not self._connected.wait(_CONNECT_TIMEOUT_S):
            self._client.loop_stop()
            raise BrokerUnreachableError(host=host, port=port, problem=self._refusal)

    def run(
        self,
        *,
        rate: float,
        duration_s: float | None,
        count: int | None,
        stop: Stop,
        tell: Callable[[Progress], None],
    ) -> None:
        """Publish until the time is up, the count is reached, or `stop` is set.

        Args:
            rate: Messages per second.
            tell: Called about once a second.
        """
        self._started = told = time.monotonic()
        due = 0.0
        before = self._started
        while not stop.is_set():
            now = time.monotonic()
            if duration_s is not None and now - self._started >= duration_s:
                return
            # After a pause of the machine or the broker the rate is kept, what was missed is not made up for in a rush.
            due += rate * min(now - before, _LONGEST_CATCH_UP_S)
            before = now
            room = MAX_UNCONFIRMED - (self._published - self._confirmed)
            left = room if count is None else min(room, count - self._published)
            for _ in range(min(int(due), left)):
                self._publish()
                due -= 1
            due = min(due, max(1.0, rate * _LONGEST_CATCH_UP_S))
            if count is not None and self._published >= count:
                return
            if now - told >= 1.0:
                told = now
                tell(self.progress)
            stop.wait(_TICK_S)

    def finish(self, timeout_s: float = 10.0) -> Progress:
        """Wait for the confirmations that are still out, disconnect, and say how it went."""
        deadline = time.monotonic() + timeout_s
        while self._confirmed < self._published and time.monotonic() < deadline:
            time.sleep(_TICK_S)
        result = self.progress
        self._client.disconnect()
        self._client.loop_stop()
        return result

    def _publish(self) -> None:
        topic, payload = self._fleet.message()
        sent = self._client.publish(topic, payload, qos=1)
        # Without a connection paho keeps the message and sends it with the next one.
        if sent.rc in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            self._published += 1

    def _on_connect(self, _client: paho.Client, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._refusal = f"it refuses the connection: {code}"
        else:
            self._connected.set()

    def _on_publish(self, _client: paho.Client, _userdata: Any, _mid: int, _code: Any, _properties: Any) -> None:
        self._confirmed += 1
