"""Clients of the MQTT broker and of Redis, made from the settings."""

import ssl

import redis
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from redis.backoff import NoBackoff
from redis.retry import Retry

from routemq.errors import ConfigurationError
from routemq.settings import Settings

OLDEST_REDIS = (7, 0)
"""Scripts use what Redis 7.0 brought; Valkey reports 7.2 or newer."""


def connect_redis(settings: Settings, *, timeout_s: float = 5.0) -> "redis.Redis":
    """Return a Redis client; it connects at its first command.

    Nothing is sent twice unseen: a command that failed is the caller's to repeat.
    """
    return redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        health_check_interval=30,
        retry_on_timeout=False,
        retry=Retry(NoBackoff(), 0),
    )


def check_redis(client: "redis.Redis") -> None:
    """Refuse a server that is too old, with a clear word.

    Raises:
        ConfigurationError: The server is older than Redis 7.0.
        redis.RedisError: The server cannot be reached.
    """
    version = str(client.info("server")["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        raise ConfigurationError(
            variable="REDIS_URL", value=f"(Redis {version})", allowed="Redis 7.0 or newer, or Valkey"
        )


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
    client = paho.Client(
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
    if settings.mqtt_tls_enabled:
        client.tls_set_context(_tls_context(settings))
        client.tls_insecure_set(settings.mqtt_tls_insecure)


def _tls_context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.mqtt_tls_ca_certs)
    except ssl.SSLError as exc:
        raise ConfigurationError(
            variable="MQTT_TLS_CA_CERTS",
            value=settings.mqtt_tls_ca_certs,
            allowed=f"a PEM file of certificates ({exc})",
        ) from exc
    if settings.mqtt_tls_certfile is not None:
        try:
            context.load_cert_chain(settings.mqtt_tls_certfile, settings.mqtt_tls_keyfile)
        except ssl.SSLError as exc:
            raise ConfigurationError(
                variable="MQTT_TLS_CERTFILE",
                value=settings.mqtt_tls_certfile,
                allowed=f"a PEM file with the certificate that MQTT_TLS_KEYFILE is the key of ({exc})",
            ) from exc
    return context
