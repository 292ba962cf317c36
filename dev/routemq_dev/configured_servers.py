"""Whether the servers that are configured can be used, before anything is started against them."""

import threading
import uuid
from typing import Any

import redis
from paho.mqtt.enums import MQTTProtocolVersion

from routemq.connections import check_redis, connect_redis
from routemq.errors import ConfigurationError
from routemq.mqtt import connect_problem
from routemq.settings import Settings
from routemq.upstream.mqtt_client import mqtt_client

_TIMEOUT_S = 5.0


def check_configured_redis(settings: Settings) -> None:
    """Refuse a Redis that cannot be used.

    Raises:
        ConfigurationError: It does not answer, refuses the password, or is too old.
    """
    client = connect_redis(settings, timeout_s=_TIMEOUT_S)
    try:
        check_redis(client)
    except redis.RedisError as exc:
        raise ConfigurationError(
            variable="REDIS_URL", value="(hidden)", allowed=f"it must be a Redis that answers, and this one says: {exc}"
        ) from exc
    finally:
        client.close()


def check_configured_broker(settings: Settings) -> None:
    """Refuse an MQTT broker that cannot be used.

    Raises:
        ConfigurationError: There is none at the address, or it refuses the connection.
    """
    answered = threading.Event()
    refusal: list[str] = []

    def on_connect(_client: Any, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            refusal.append(str(code))
        answered.set()

    # 3.1.1, for every broker speaks it; what `routemq ingest` speaks then is between the two.
    client = mqtt_client(
        settings,
        client_id=f"dev-{uuid.uuid4().hex[:12]}",
        protocol=MQTTProtocolVersion.MQTTv311,
        persistent=False,
    )
    client.on_connect = on_connect
    client.connect_timeout = _TIMEOUT_S
    try:
        client.connect(settings.mqtt_broker, settings.mqtt_port)
    except OSError as exc:
        raise _unusable(settings, connect_problem(exc, settings)) from exc
    client.loop_start()
    in_time = answered.wait(_TIMEOUT_S)
    client.disconnect()
    client.loop_stop()
    if refusal or not in_time:
        raise _unusable(settings, refusal[0] if refusal else "it does not answer")


def _unusable(settings: Settings, problem: str) -> ConfigurationError:
    return ConfigurationError(
        variable="MQTT_BROKER",
        value=f"{settings.mqtt_broker} (port {settings.mqtt_port})",
        allowed=f"no MQTT broker can be reached there ({problem}). Unset it, and `routemq dev` brings one along",
    )
