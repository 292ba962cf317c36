"""How a connection is opened, where it may take its time; and how a session is ended that has none."""

from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes

from routemq.settings import Settings
from routemq.upstream.mqtt_client import prepare_mqtt
from routemq_ingest.upstream.connection import BrokerConnection, properties

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


def wipe_session(settings: Settings, client_id: str, *, timeout_s: float) -> None:
    """End a session on MQTT 3.1.1, which knows no other way than to begin a clean one.

    Raises:
        Exception: As `open_connection`, or no CONNACK in this time.
    """
    wiper = BrokerConnection(client_id=client_id, protocol=MQTTProtocolVersion.MQTTv311, clean_session=True)
    wiper.connect_timeout = timeout_s
    prepare_mqtt(wiper, settings)
    wiper.connect(settings.mqtt_broker, settings.mqtt_port)
    wiper.wait_connected(timeout_s=timeout_s)
    close_connection(wiper)
