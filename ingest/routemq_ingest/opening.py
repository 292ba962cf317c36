"""How a connection is opened, where it may take its time; and how one is closed, with its session or without."""

import logging

from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from routemq.settings import Settings
from routemq.upstream.mqtt_client import prepare_mqtt
from routemq_ingest.upstream.connection import BrokerConnection, properties

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
_GOODBYE_S = 2.0


def open_connection(connection: BrokerConnection, settings: Settings) -> None:
    """Connect and send CONNECT, for a session that the broker keeps.

    Raises:
        Exception: There is no such host, it does not answer, TLS fails, or the settings are not MQTT's.
    """
    prepare_mqtt(connection, settings)
    asked = None
    if connection.is_mqtt5:
        asked = properties(
            PacketTypes.CONNECT,
            SessionExpiryInterval=settings.mqtt_session_expiry_s,
            ReceiveMaximum=settings.mqtt_receive_maximum,
        )
    connection.connect(
        settings.mqtt_broker,
        settings.mqtt_port,
        keepalive=settings.mqtt_keepalive_s,
        # Paho's default for MQTT 5 wipes the session at the first connect of each process.
        clean_start=False if connection.is_mqtt5 else MQTT_CLEAN_START_FIRST_ONLY,
        properties=asked,
    )


def shorter_expiry(connack: Properties | None, settings: Settings, client_id: str, *, before_s: int) -> int:
    """Return for how long the broker keeps the session, and tell when that is newly less than it was asked for.

    Args:
        connack: What came with the CONNACK (MQTT 5, 3.2.2.3.2); without a word of it all is as it was before.
    """
    kept_s = getattr(connack, "SessionExpiryInterval", before_s)
    if kept_s != before_s and kept_s < settings.mqtt_session_expiry_s:
        logger.warning(
            "the mqtt broker keeps the session of an absent client for %d s, not for MQTT_SESSION_EXPIRY_S=%d: if we "
            "are away for longer, what comes for us is lost client_id=%s",
            kept_s, settings.mqtt_session_expiry_s, client_id,
        )  # fmt: skip
    return kept_s


def close_connection(connection: BrokerConnection, *, ends_session: bool = False) -> None:
    """Say DISCONNECT and go.

    Args:
        ends_session: The broker need not keep it; MQTT 5 can say so.
    """
    if connection.socket() is None:
        return
    if ends_session:
        connection.disconnect(properties=properties(PacketTypes.DISCONNECT, SessionExpiryInterval=0))
    else:
        connection.disconnect()
    connection.flush(timeout_s=_GOODBYE_S)


def wipe_session(settings: Settings, client_id: str) -> None:
    """End a session on MQTT 3.1.1, which knows no other way than to begin a clean one.

    Raises:
        Exception: As `open_connection`, or no CONNACK in this time.
    """
    wiper = BrokerConnection(client_id=client_id, protocol=MQTTProtocolVersion.MQTTv311, clean_session=True)
    wiper.connect_timeout = CONNECT_TIMEOUT_S
    prepare_mqtt(wiper, settings)
    wiper.connect(settings.mqtt_broker, settings.mqtt_port)
    wiper.wait_connected(timeout_s=CONNECT_TIMEOUT_S)
    close_connection(wiper)
