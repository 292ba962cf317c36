"""Clients of the MQTT broker, made from the settings."""

import socket
import ssl

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from routemq.connections import ssl_context
from routemq.settings import Settings


class MqttClient(paho.Client):
    """Paho's client, which closes a socket whose TLS handshake fails; paho leaves it to the garbage collector."""

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        if self._ssl_context is None:
            raise RuntimeError("TLS without a context")
        wrapped = self._ssl_context.wrap_socket(tcp_sock, server_hostname=self._host, do_handshake_on_connect=False)
        try:
            wrapped.settimeout(self._connect_timeout)
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped


def mqtt_client(
    settings: Settings,
    *,
    client_id: str,
    protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
    manual_ack: bool = False,
    persistent: bool = True,
) -> paho.Client:
    """Return a paho client with the settings' user name and TLS, not yet connected.

    On MQTT 3.1.1 its session outlives the connection if `persistent`; on MQTT 5 that is said at connect (clean start,
    session expiry).
    """
    client = MqttClient(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=protocol,
        clean_session=not persistent if protocol != MQTTProtocolVersion.MQTTv5 else None,
        manual_ack=manual_ack,
    )
    prepare_mqtt(client, settings)
    return client


def prepare_mqtt(client: paho.Client, settings: Settings) -> None:
    """Give a paho client the settings' user name and TLS.

    Raises:
        ConfigurationError: A certificate cannot be used.
    """
    if settings.mqtt_username is not None:
        password = settings.mqtt_password
        client.username_pw_set(settings.mqtt_username, None if password is None else password.get_secret_value())
    context = mqtt_ssl_context(settings)
    if context is not None:
        client.tls_set_context(context)
        client.tls_insecure_set(settings.mqtt_tls_insecure)


def mqtt_ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """Return what TLS to the MQTT broker takes, None without TLS.

    Raises:
        ConfigurationError: A certificate cannot be used.
    """
    if not settings.mqtt_tls_enabled:
        return None
    return ssl_context("MQTT", settings.mqtt_tls_ca_certs, settings.mqtt_tls_certfile, settings.mqtt_tls_keyfile)
