"""MQTT clients of the tests: paho on its own thread, and a bare socket that may say anything."""

import socket
import struct
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from routemq.mqtt_wire import binary, packet
from tests.processes import PATIENCE_S, wait_until
from tests.servers import HOST


def properties(packet_type: int, **values: Any) -> Properties:
    """Return MQTT 5 properties by paho's names, such as `ReceiveMaximum`."""
    made = Properties(packet_type)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Peer:
    """One client, from `connect` until it is closed or cut; another one may come back under the same client id.

    Attributes:
        messages: What it received, in order.
        session_present: What its CONNACK said.
        connack: The properties of its CONNACK.
        ended_by: The reason code with which the connection ended, None while it lasts.
    """

    def __init__(self, port: int, *, client_id: str = "", version: int = 5, manual_ack: bool = False) -> None:
        self.client_id = client_id or f"peer-{uuid.uuid4().hex[:12]}"
        self.messages: list[MQTTMessage] = []
        self.session_present: bool | None = None
        self.connack: Properties | None = None
        self.ended_by: int | None = None
        self._port, self._version, self._manual_ack = port, version, manual_ack
        self._answers: dict[int, list[ReasonCode]] = {}

    @property
    def payloads(self) -> list[str]:
        """What the messages hold, in the order of their arrival."""
        return [message.payload.decode() for message in list(self.messages)]

    def connect(
        self,
        *,
        clean: bool = True,
        will: tuple[str, str] | None = None,
        will_qos: int = 1,
        will_delay_s: int = 0,
        keep_alive_s: int = 60,
        **values: Any,
    ) -> "Peer":
        """Connect and wait for the CONNACK.

        Args:
            values: Properties of the CONNECT, MQTT 5 only.
        """
        five = self._version == 5
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            clean_session=None if five else clean,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            manual_ack=self._manual_ack,
            reconnect_on_failure=False,
        )
        self.client.max_inflight_messages_set(0)
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = lambda _client, _userdata, message: self.messages.append(message)
        self.client.on_subscribe = self._on_answer
        self.client.on_unsubscribe = self._on_answer
        if will is not None:
            delay = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=will_delay_s) if five else None
            self.client.will_set(*will, qos=will_qos, properties=delay)
        self.client.connect(
            HOST,
            self._port,
            keepalive=keep_alive_s,
            clean_start=clean if five else MQTT_CLEAN_START_FIRST_ONLY,  # what paho takes for "not said"
            properties=properties(PacketTypes.CONNECT, **values) if five else None,
        )
        self.client.loop_start()
        wait_until(lambda: self.session_present is not None, message=f"{self.client_id} is connected")
        return self

    def subscribe(self, topic_filter: str, qos: int = 1, *, identifier: int | None = None, **options: Any) -> int:
        """Subscribe, wait for the SUBACK and return its code. Whatever was sent before it has arrived too."""
        if self._version == 5:
            made = None if identifier is None else properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=identifier)
            mid = self.client.subscribe(topic_filter, options=SubscribeOptions(qos, **options), properties=made)[1]
        else:
            mid = self.client.subscribe(topic_filter, qos)[1]
        return self._answer(mid)[0].value

    def unsubscribe(self, topic_filter: str) -> None:
        """Unsubscribe and wait for the UNSUBACK."""
        self._answer(self.client.unsubscribe(topic_filter)[1])

    def round_trip(self) -> None:
        """Return when everything the broker had sent so far has arrived."""
        self.subscribe(f"round-trip/{self.client_id}")

    def publish(self, topic: str, payload: str | bytes, qos: int = 1, *, retain: bool = False, **values: Any) -> None:
        """Publish and, for QoS 1 and 2, wait for the PUBACK or PUBCOMP."""
        made = properties(PacketTypes.PUBLISH, **values) if values else None
        sent = self.client.publish(topic, payload, qos, retain=retain, properties=made)
        if qos:
            sent.wait_for_publish(PATIENCE_S)
            assert sent.is_published(), f"no PUBACK for {payload!r:.50}"

    def publish_all(self, topic: str, payloads: list[str]) -> None:
        """Publish with QoS 1 and wait for every PUBACK."""
        for sent in [self.client.publish(topic, payload, 1) for payload in payloads]:
            sent.wait_for_publish(PATIENCE_S)

    def ack(self, message: MQTTMessage) -> None:
        """Acknowledge by hand."""
        assert self.client.ack(message.mid, message.qos) == MQTTErrorCode.MQTT_ERR_SUCCESS

    def wait_for(self, count: int) -> list[str]:
        """Wait until so many messages are there and return the payloads of all."""
        wait_until(
            lambda: len(self.messages) >= count,
            message=f"{count} messages are there (there are {len(self.messages)})",
        )
        return self.payloads

    def wait_for_end(self) -> int:
        """Wait until the connection has ended and return the reason code."""
        wait_until(lambda: self.ended_by is not None, message=f"{self.client_id} has ended")
        assert self.ended_by is not None
        return self.ended_by

    def cut(self) -> None:
        """Lose the connection as a crash would: no DISCONNECT."""
        connection = self.client.socket()
        if connection is not None and connection.fileno() >= 0:
            connection.shutdown(socket.SHUT_RDWR)
        self.wait_for_end()
        self.client.loop_stop()

    def close(self) -> None:
        """Say DISCONNECT and go. Harmless when the connection has ended."""
        self.client.disconnect()
        self.client.loop_stop()

    def _on_connect(self, _client: Client, _: Any, flags: ConnectFlags, code: ReasonCode, connack: Any) -> None:
        assert not code.is_failure, code
        self.connack = connack
        self.session_present = flags.session_present

    def _on_disconnect(self, _client: Client, _: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        self.ended_by = code.value

    def _on_answer(self, _client: Client, _: Any, mid: int, codes: list[ReasonCode], _properties: Any) -> None:
        self._answers[mid] = codes

    def _answer(self, mid: int | None) -> list[ReasonCode]:
        assert mid is not None
        wait_until(lambda: mid in self._answers, message="the broker has answered")
        return self._answers[mid]


class BareSocket:
    """A connection without a client: what is sent is what a test writes."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=PATIENCE_S)

    def connect(self, client_id: str = "", *, version: int = 5, keep_alive_s: int = 0) -> "BareSocket":
        """Send a CONNECT and read the CONNACK."""
        name = client_id.encode() or uuid.uuid4().hex.encode()
        body = struct.pack("!H4sBBH", 4, b"MQTT", version, 2, keep_alive_s) + (b"\0" if version == 5 else b"")
        self.send(packet(0x10, body + binary(name)))
        assert self.read()[0] == 0x20
        return self

    def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._socket.sendall(data)

    def read(self) -> tuple[int, bytes]:
        """Return the first byte and the body of the next packet; (0, b"") when the other side has closed."""
        try:
            return read_packet(self._socket) or (0, b"")
        except ConnectionResetError:
            return 0, b""

    def wait_for_close(self) -> list[tuple[int, bytes]]:
        """Return the packets that still came until the other side closed."""
        packets = []
        while (found := self.read())[0]:
            packets.append(found)
        return packets

    def close(self) -> None:
        """Close without a word."""
        self._socket.close()


def read_packet(connection: socket.socket) -> tuple[int, bytes] | None:
    """Return the next packet's first byte and body; None when the other side has closed."""
    first = connection.recv(1)
    if not first:
        return None
    size = shift = 0
    while True:
        byte = connection.recv(1)[0]
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    body = b""
    while len(body) < size:
        body += connection.recv(size - len(body))
    return first[0], body


MakePeer = Callable[..., Peer]

development_broker = pytest.mark.parametrize("mqtt_broker", ["embedded"], indirect=True)
"""Where Mosquitto 2.0 does less than the specification says or leaves the choice; other tests ask both brokers."""


def numbers(count: int, start: int = 0) -> list[str]:
    return [str(number) for number in range(start, start + count)]


def packet_id(number: int) -> bytes:
    return number.to_bytes(2, "big")
