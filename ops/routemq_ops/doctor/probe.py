"""An MQTT client of the doctor's own: short-lived, and each wait has an end."""

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Self

from paho.mqtt import client as paho
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from routemq.errors import RouteMQError
from routemq.settings import Settings
from routemq.upstream.mqtt_client import mqtt_client

PATIENCE_S = 5.0

_TURN_S = 0.1
_LONGEST_TURN_S = 0.2


class ProbeError(RouteMQError):
    """The broker did not do what a probe asked of it."""

    def __init__(self, *, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


class Probe:
    """One connection.

    Args:
        client_id: To come back to a session; by default one of its own.
        expiry_s: How long the broker is to keep the session after the connection.

    Attributes:
        connack: Properties of the broker's CONNACK; None on MQTT 3.1.1.
        received: Payloads, in the order they came.
    """

    def __init__(
        self, settings: Settings, *, version: MQTTProtocolVersion, client_id: str | None = None, expiry_s: int = 0
    ) -> None:
        self.client_id = client_id or f"{settings.client_id_base}-doctor-{uuid.uuid4().hex[:8]}"
        self.received: list[tuple[str, bytes]] = []
        self.connack: Any = None
        self.session_present = False
        self._settings, self._version, self._expiry_s = settings, version, expiry_s
        self._changed = threading.Condition()
        self._refusal: str | None = None
        self._connected = False
        self._answers: dict[int, list[Any]] = {}
        self._client = mqtt_client(settings, client_id=self.client_id, protocol=version, persistent=expiry_s > 0)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = lambda *_: self._refuse("it cannot be reached")
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_answer
        self._client.on_unsubscribe = self._on_answer
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        # Probes of limits want their messages out at once.
        self._client.max_inflight_messages_set(0)

    def __enter__(self) -> Self:
        five = self._version == MQTTProtocolVersion.MQTTv5
        properties: Any = Properties  # paho has no types here
        connect = properties(PacketTypes.CONNECT)
        if five and self._expiry_s:
            connect.SessionExpiryInterval = self._expiry_s
        try:
            self._client.connect(
                self._settings.mqtt_broker,
                self._settings.mqtt_port,
                keepalive=30,
                clean_start=self._expiry_s == 0 if five else MQTT_CLEAN_START_FIRST_ONLY,
                properties=connect if five else None,
            )
        except (OSError, ValueError) as exc:
            raise ProbeError(problem=str(exc) or type(exc).__name__) from exc
        self._client.loop_start()
        if not self._wait(lambda: self._connected or self._refusal is not None):
            self._client.loop_stop()
            raise ProbeError(problem=f"it did not answer CONNECT within {PATIENCE_S:g} s")
        if self._refusal is not None:
            self._client.loop_stop()
            raise ProbeError(problem=self._refusal)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def subscribe(self, topic_filter: str, qos: int) -> int:
        """Subscribe, and return the code of the SUBACK: the granted QoS, or 128 and more for a refusal."""
        _, mid = self._client.subscribe(topic_filter, qos)
        return int(self._answer(mid, "SUBSCRIBE")[0].value)

    def publish(self, topic: str, payloads: list[bytes], *, qos: int = 1) -> None:
        """Publish, and wait until the broker has acknowledged all.

        Raises:
            ProbeError: It did not.
        """
        sent = [self._client.publish(topic, payload, qos) for payload in payloads]
        for each in sent:
            try:
                confirmed = self._wait(each.is_published)
            except (RuntimeError, ValueError) as exc:
                raise ProbeError(problem=str(exc)) from exc
            if not confirmed:
                raise ProbeError(problem=f"it did not acknowledge a PUBLISH to {topic}")

    def wait_for(self, count: int, *, timeout_s: float = PATIENCE_S) -> int:
        """Wait for so many messages, as long as the next one comes in time, and return how many came."""
        return self.wait_while_more(lambda: len(self.received), count, timeout_s=timeout_s)

    def wait_while_more(self, counted: Callable[[], int], count: int, *, timeout_s: float = PATIENCE_S) -> int:
        """Wait until so many are counted, as long as the next one is in time, and return how many were."""
        seen = -1
        while seen < (now := counted()) < count:
            seen = now
            self._wait(lambda before=now: counted() > before, timeout_s)  # type: ignore[misc]
        return counted()

    def _answer(self, mid: int | None, what: str) -> list[Any]:
        if mid is None or not self._wait(lambda: mid in self._answers):
            raise ProbeError(problem=f"it did not answer {what} within {PATIENCE_S:g} s")
        return self._answers[mid]

    def _wait(self, predicate: Callable[[], bool], timeout_s: float = PATIENCE_S) -> bool:
        """Wait so long; what this process itself stands still, as its machine does, is no time of the broker's."""
        left_s = timeout_s
        with self._changed:
            while left_s > 0:
                began = time.monotonic()
                if self._changed.wait_for(predicate, min(_TURN_S, left_s)):
                    return True
                left_s -= min(time.monotonic() - began, _LONGEST_TURN_S)
        return predicate()

    def _refuse(self, problem: str) -> None:
        with self._changed:
            # What follows the broker's word, such as the end of the connection, says less.
            self._refusal = self._refusal or problem
            self._changed.notify_all()

    def _on_connect(self, _client: paho.Client, _: Any, flags: Any, reason: Any, more: Any) -> None:
        if reason.is_failure:
            self._refuse(f"it refuses: {reason}")
            return
        with self._changed:
            self._connected, self.connack, self.session_present = True, more, flags.session_present
            self._changed.notify_all()

    def _on_disconnect(self, _client: paho.Client, _: Any, _flags: Any, reason: Any, _more: Any) -> None:
        if not self._connected:
            self._refuse(f"it closed the connection: {reason}")

    def _on_answer(self, _client: paho.Client, _: Any, mid: int, codes: list[Any], _more: Any) -> None:
        with self._changed:
            self._answers[mid] = codes
            self._changed.notify_all()

    def _on_publish(self, *_: object) -> None:
        with self._changed:
            self._changed.notify_all()

    def _on_message(self, _client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.received.append((message.topic, bytes(message.payload)))
            self._changed.notify_all()
