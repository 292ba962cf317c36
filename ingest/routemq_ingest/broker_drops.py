"""What the MQTT broker says that it threw away, where it says so: Mosquitto does, under `$SYS`."""

import contextlib
import os
import socket
from typing import Any, Self

from paho.mqtt.enums import MQTTProtocolVersion

from routemq.settings import Settings
from routemq.upstream.mqtt_client import mqtt_client

_TOPIC = "$SYS/broker/publish/messages/dropped"
_MOST_PAUSE_S = 60


class BrokerDrops:
    """Listens on a connection of its own, in a thread of paho's; without harm where the broker does not tell.

    Attributes:
        count: Messages for any client, since the broker began; None while it has not said.
    """

    def __init__(self, settings: Settings) -> None:
        self.count: int | None = None
        self._settings = settings
        # Every broker speaks 3.1.1, unless it was told not to.
        version = MQTTProtocolVersion.MQTTv5 if settings.mqtt_protocol == "5" else MQTTProtocolVersion.MQTTv311
        name = f"{settings.mqtt_group_name}-drops-{socket.gethostname()}-{os.getpid()}"
        client = self._client = mqtt_client(settings, client_id=name, protocol=version, persistent=False)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.reconnect_delay_set(max_delay=_MOST_PAUSE_S)

    def __enter__(self) -> Self:
        self._client.connect_async(self._settings.mqtt_broker, self._settings.mqtt_port)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        # The thread is not waited for: a name server may hold it.
        self._client.disconnect()

    def _on_connect(self, client: Any, *_: object) -> None:
        client.subscribe(_TOPIC)

    def _on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        with contextlib.suppress(ValueError):
            self.count = int(message.payload)
