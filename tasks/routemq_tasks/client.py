"""What a controller's `client` is: publishes over one MQTT connection per process."""

import logging
import os
import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import orjson
from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from routemq.connections import mqtt_client
from routemq.errors import PublishError
from routemq.settings import Settings
from routemq.topics import MAX_TOPIC_BYTES

logger = logging.getLogger(__name__)

Payload = bytes | str | dict[str, Any] | list[Any]

CONFIRMATION_TIMEOUT_S = 10.0
"""A message whose publishes are not confirmed by then has failed."""

_MOST_WAITING = 10_000
_MOST_IN_FLIGHT = 200


@dataclass(slots=True, eq=False)
class Publication:
    """One publish.

    Attributes:
        info: Paho's word on it; None while there is no connection to send it on.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    info: paho.MQTTMessageInfo | None = None


class Publisher:
    """The process's MQTT connection, opened on first use; it reconnects by itself."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._changed = threading.Condition()
        self._client: paho.Client | None = None
        self._waiting: deque[Publication] = deque()

    def publish(self, publication: Publication) -> None:
        """Send now, or as soon as there is a connection.

        Raises:
            PublishError: Too many wait for a connection already.
        """
        with self._changed:
            client = self._client or self._open()
            if client.is_connected() and not self._waiting:
                _send(client, publication)
            elif len(self._waiting) >= _MOST_WAITING:
                raise PublishError(topic=publication.topic, problem=f"no connection to {self._address}")
            else:
                self._waiting.append(publication)

    def wait(self, publication: Publication, *, deadline: float) -> None:
        """Wait for the broker's PUBACK, at QoS 0 until it is written to the connection.

        Args:
            deadline: On the monotonic clock.

        Raises:
            PublishError: It was not confirmed in time.
        """
        with self._changed:
            self._changed.wait_for(lambda: publication.info is not None, max(0.0, deadline - time.monotonic()))
        info = publication.info
        if info is None:
            raise PublishError(topic=publication.topic, problem=f"no connection to {self._address}")
        try:
            info.wait_for_publish(max(0.0, deadline - time.monotonic()))
            confirmed = info.is_published()
        except (RuntimeError, ValueError) as exc:
            raise PublishError(topic=publication.topic, problem=str(exc)) from exc
        if not confirmed:
            raise PublishError(topic=publication.topic, problem=f"not confirmed by {self._address} in time")

    def withdraw(self, publications: list[Publication]) -> None:
        """Do not send what still waits for a connection."""
        with self._changed:
            for publication in publications:
                if publication.info is None:
                    self._waiting.remove(publication)

    def close(self) -> None:
        """Disconnect; a later publish opens a new connection."""
        with self._changed:
            client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()

    @property
    def _address(self) -> str:
        return f"{self._settings.mqtt_broker}:{self._settings.mqtt_port}"

    def _open(self) -> paho.Client:
        settings = self._settings
        # Publishing needs nothing that MQTT 3.1.1 lacks, and every broker speaks that. The session ends with the
        # connection: nobody would ever come back for it.
        protocol = MQTTProtocolVersion.MQTTv5 if settings.mqtt_protocol == "5" else MQTTProtocolVersion.MQTTv311
        client_id = f"{settings.client_id_base}-worker-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        client = mqtt_client(settings, client_id=client_id, protocol=protocol, persistent=False)
        client.max_inflight_messages_set(_MOST_IN_FLIGHT)
        client.reconnect_delay_set(min_delay=1, max_delay=10)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.connect_async(settings.mqtt_broker, settings.mqtt_port, settings.mqtt_keepalive_s)
        client.loop_start()
        self._client = client
        return client

    def _on_connect(
        self,
        client: paho.Client,
        _userdata: Any,
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        _more: Properties | None,
    ) -> None:
        if reason.is_failure:
            logger.error("the MQTT broker %s refused the worker's connection: %s", self._address, reason)
            return
        with self._changed:
            while self._waiting:
                _send(client, self._waiting.popleft())
            self._changed.notify_all()

    def _on_connect_fail(self, _client: paho.Client, _userdata: Any) -> None:
        logger.warning("no connection to the MQTT broker %s, trying again", self._address)


def _send(client: paho.Client, publication: Publication) -> None:
    publication.info = client.publish(
        publication.topic, publication.payload, publication.qos, retain=publication.retain
    )


@dataclass(slots=True)
class MessageClient:
    """The client of one message's run; remembers what it published until it is confirmed."""

    publisher: Publisher
    _publications: list[Publication] = field(default_factory=list)

    def publish(self, topic: str, payload: Payload, qos: int = 0, retain: bool = False) -> None:
        """Publish to the MQTT broker; see `routemq.Client`.

        Raises:
            PublishError: The topic, the payload or the QoS cannot be published.
        """
        problem = _topic_problem(topic)
        if problem is None and qos not in (0, 1, 2):
            problem = f"qos={qos!r}; it is 0, 1 or 2"
        if problem is not None:
            raise PublishError(topic=topic, problem=problem)
        publication = Publication(topic, _encoded(topic, payload), qos, retain)
        self.publisher.publish(publication)
        self._publications.append(publication)

    def confirm(self) -> None:
        """Wait until everything published so far is confirmed.

        Raises:
            PublishError: Something was not, in time.
        """
        if self._publications:
            deadline = time.monotonic() + CONFIRMATION_TIMEOUT_S
            for publication in self._publications:
                self.publisher.wait(publication, deadline=deadline)
            self._publications.clear()

    def abandon(self) -> None:
        """Take back what is not sent yet: the run failed, and the next one publishes again."""
        if self._publications:
            self.publisher.withdraw(self._publications)
            self._publications.clear()


def _topic_problem(topic: str) -> str | None:
    if not topic:
        return "a topic has at least one character"
    if "+" in topic or "#" in topic:
        return "a topic name holds no wildcard"
    if "\0" in topic:
        return "a topic cannot hold the null character"
    try:
        size_bytes = len(topic.encode())
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    return f"longer than {MAX_TOPIC_BYTES} bytes" if size_bytes > MAX_TOPIC_BYTES else None


def _encoded(topic: str, payload: object) -> bytes:
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    try:
        if isinstance(payload, str):
            return payload.encode()
        if isinstance(payload, (dict, list)):
            return orjson.dumps(payload)
    except (TypeError, UnicodeEncodeError) as exc:
        raise PublishError(topic=topic, problem=f"the payload cannot be encoded: {exc}") from exc
    raise PublishError(topic=topic, problem=f"a payload is bytes, str, dict or list, not {type(payload).__name__}")
