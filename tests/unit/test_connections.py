"""What connections are made of: certificates that cannot be used are told in a line, before anything waits for them."""

from importlib import metadata
from pathlib import Path

import pytest
import redis
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from routemq.connections import connect_redis
from routemq.errors import ConfigurationError
from routemq.settings import Settings
from routemq.upstream.mqtt_client import mqtt_ssl_context
from tests.processes import no_more_threads


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A certificate, its key, its key under a passphrase, and another key."""
    authority = trustme.CA()
    issued, other = authority.issue_cert("client.example"), authority.issue_cert("other.example")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    made = {
        "certificate": issued.cert_chain_pems[0].bytes(),
        "key": issued.private_key_pem.bytes(),
        "locked": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
        "other": other.private_key_pem.bytes(),
        "text": b"no certificate",
    }
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    return {name: tmp_path / name for name in made}


def context(files: dict[str, Path], **named: str) -> object:
    paths = {f"mqtt_tls_{setting}": files[name] for setting, name in named.items()}
    return mqtt_ssl_context(Settings(_env_file=None, mqtt_tls_enabled=True, **paths))  # type: ignore[call-arg, arg-type]


def test_a_certificate_with_its_key_is_used_and_none_without_tls(files: dict[str, Path]) -> None:
    assert context(files, certfile="certificate", keyfile="key") is not None
    assert mqtt_ssl_context(Settings(_env_file=None)) is None  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("named", "variable", "why"),
    [
        ({"certfile": "certificate", "keyfile": "locked"}, "MQTT_TLS_CERTFILE", "the key has a passphrase"),
        ({"certfile": "certificate", "keyfile": "other"}, "MQTT_TLS_CERTFILE", "MQTT_TLS_KEYFILE is the key of"),
        ({"certfile": "certificate"}, "MQTT_TLS_CERTFILE", "PEM"),
        ({"certfile": "text"}, "MQTT_TLS_CERTFILE", "PEM"),
        ({"ca_certs": "text"}, "MQTT_TLS_CA_CERTS", "a PEM file of certificates"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told(
    files: dict[str, Path], named: dict[str, str], variable: str, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        context(files, **named)
    assert caught.value.variable == variable


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist or cannot be read"):
        Settings(_env_file=None, mqtt_tls_ca_certs=tmp_path)  # type: ignore[call-arg]


def test_a_connection_tells_redis_our_clients_version_and_reads_no_metadata_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metadata, "version", lambda _name: pytest.fail("read"))
    told = connect_redis(Settings(redis_url="redis://unused")).connection_pool.make_connection().driver_info
    assert (told.formatted_name, told.lib_version) == ("redis-py", redis.__version__)


def test_a_lookup_that_there_is_no_thread_for_is_an_error_of_the_connection() -> None:
    client = connect_redis(Settings(_env_file=None, redis_url="redis://localhost:1"))  # type: ignore[call-arg]
    with no_more_threads(), pytest.raises(redis.ConnectionError, match="thread"):
        client.ping()
