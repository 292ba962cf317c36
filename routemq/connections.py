"""Clients of Redis, made from the settings, and TLS to both servers."""

import ssl
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from routemq.errors import ConfigurationError
from routemq.redis_client import RedisClient
from routemq.settings import Settings
from routemq.upstream.redis_connection import RedisConnection, RedisSSLConnection

OLDEST_REDIS = (7, 0)
"""Scripts use what Redis 7.0 brought; Valkey reports 7.2 or newer."""

_MODES = {"cluster": "a Redis Cluster, which is not supported", "sentinel": "a Redis Sentinel"}


def connect_redis(settings: Settings, *, timeout_s: float = 5.0) -> "redis.Redis":
    """Return a Redis client; it connects at its first command, and anew when the server refuses or does not answer.

    Nothing is sent twice unseen: a command that failed is the caller's to repeat.
    """
    address = settings.redis
    # No PING before a command after a pause: a user may not be allowed it, a full disk refuses it, and a connection
    # that is half open is found by the command as soon.
    pool = redis.ConnectionPool(
        connection_class=RedisSSLConnection if address.tls else RedisConnection,
        host=address.host,
        port=address.port,
        db=address.database,
        username=address.username,
        password=address.password,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        **(redis_tls_options(settings) or {}),
    )
    return RedisClient.from_pool(pool)


def redis_tls_options(settings: Settings) -> dict[str, Any] | None:
    """Return what redis-py and kombu have to know of TLS, by the same names; None without it.

    Raises:
        ConfigurationError: A certificate cannot be used.
    """
    if not settings.redis.tls:
        return None
    ssl_context("REDIS", settings.redis_tls_ca_certs, settings.redis_tls_certfile, settings.redis_tls_keyfile)
    files = {
        "ssl_ca_certs": settings.redis_tls_ca_certs,
        "ssl_certfile": settings.redis_tls_certfile,
        "ssl_keyfile": settings.redis_tls_keyfile,
    }
    return {
        "ssl_cert_reqs": "none" if settings.redis_tls_insecure else "required",
        "ssl_check_hostname": not settings.redis_tls_insecure,
        **{name: str(path) for name, path in files.items() if path is not None},
    }


def check_redis(client: "redis.Redis") -> None:
    """Refuse a server that never can be used; see whether it takes writes now.

    Raises:
        ConfigurationError: It is older than Redis 7.0, or no single server: a Redis Cluster, or a Sentinel.
        redis.RedisError: It cannot be reached, or refuses to write. This may pass: wait, and try again.
    """
    version, mode = _version_and_mode(client)
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        raise ConfigurationError(
            variable="REDIS_URL", value=f"(Redis {version})", allowed="Redis 7.0 or newer, or Valkey"
        )
    if mode in _MODES:
        raise ConfigurationError(
            variable="REDIS_URL", value=f"({_MODES[mode]})", allowed="a single primary, with any number of replicas"
        )
    # Looked at as every script of ours is, by a replica, a full disk and the permissions of this user too.
    client.eval("#!lua flags=allow-oom\nreturn 1", 0)


def _version_and_mode(client: "redis.Redis") -> tuple[str, str]:
    try:
        told = client.info("server")
        return str(told["redis_version"]), str(told.get("redis_mode", ""))
    except redis.exceptions.NoPermissionError:
        # Every user may say HELLO, and is answered nearly the same.
        hello = client.execute_command("HELLO")  # type: ignore[no-untyped-call]
        pairs = hello.items() if isinstance(hello, dict) else zip(hello[::2], hello[1::2], strict=True)
        told = {key.decode(): value for key, value in pairs}
        return told["version"].decode(), told["mode"].decode()


def ssl_context(server: str, ca_certs: Path | None, certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext:
    """Return what TLS to a server takes, `MQTT` or `REDIS`, by the files of its settings.

    Raises:
        ConfigurationError: A certificate cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_certs)
    except (OSError, ValueError) as exc:
        raise ConfigurationError(
            variable=f"{server}_TLS_CA_CERTS", value=ca_certs, allowed=f"a PEM file of certificates ({exc})"
        ) from exc
    if certfile is not None:
        try:
            context.load_cert_chain(certfile, keyfile, password=_no_passphrase)
        except (OSError, ValueError) as exc:
            raise ConfigurationError(
                variable=f"{server}_TLS_CERTFILE",
                value=certfile,
                allowed=f"a PEM file with the certificate that {server}_TLS_KEYFILE is the key of ({exc})",
            ) from exc
    return context


def _no_passphrase() -> str:
    # OpenSSL would ask for it at the terminal, and wait.
    raise ValueError("the key has a passphrase; give one without")
