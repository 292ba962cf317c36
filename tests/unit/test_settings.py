"""Every variable is read, checked and told in words; secrets stay secret."""

import logging
import pickle
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from routemq.cli import main
from routemq.errors import ConfigurationError
from routemq.settings import SECRETS, Settings, load_settings, variable_of


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting from outside, and an empty working directory."""
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.chdir(tmp_path)


def set_all(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        try:
            monkeypatch.setenv(name, value)
        except UnicodeEncodeError:
            # The environment is in the locale's encoding, the file is not.
            Path(".env").write_text(f"{name}={value}\n", encoding="utf-8")


def test_names_of_the_seed_and_of_the_issue() -> None:
    names = {variable_of(name) for name in Settings.model_fields}
    assert names >= {
        "MQTT_BROKER", "MQTT_PORT", "MQTT_USERNAME", "MQTT_PASSWORD", "MQTT_GROUP_NAME", "MQTT_CLIENT_ID",
        "MQTT_TLS_ENABLED", "MQTT_TLS_CA_CERTS", "MQTT_TLS_CERTFILE", "MQTT_TLS_KEYFILE", "MQTT_TLS_INSECURE",
        "WORKER_COUNT", "WORKER_AUTO_SCALE", "WORKER_MIN_COUNT", "WORKER_MAX_COUNT",
        "REDIS_URL", "INGEST_WORKERS", "ROUTEMQ_ROUTERS", "ROUTEMQ_LOG_LEVEL",
    }  # fmt: skip


def test_nothing_set_gives_the_defaults() -> None:
    settings = load_settings()
    assert (settings.mqtt_broker, settings.mqtt_port, settings.mqtt_password) == ("localhost", 1883, None)
    assert settings.redis_url.get_secret_value() == "redis://localhost:6379/0"
    assert (settings.routers, settings.log_level, settings.worker_count) == ("app.routers", "INFO", None)
    assert settings.client_id_base.startswith("routemq-")


_TLS_FILES = ("CA_CERTS", "CERTFILE", "KEYFILE")


def test_every_variable_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.touch()
    odd = {
        "MQTT_PROTOCOL": "3.1.1", "ROUTEMQ_LOG_LEVEL": "debug", "LOG_FORMAT": "json", "REDIS_URL": "rediss://h/3",
        "MQTT_BROKER": "::1", "ROUTEMQ_TRANSPORT": "stock", "MQTT_SHARE": "never",
        **{f"{server}_TLS_{file}": str(pem) for server in ("MQTT", "REDIS") for file in _TLS_FILES},
    }  # fmt: skip
    for name, field in Settings.model_fields.items():
        kinds = {field.annotation, *get_args(field.annotation)}
        value = str(not field.get_default()) if bool in kinds else "61" if kinds & {int, float} else "text"
        monkeypatch.setenv(variable_of(name), odd.get(variable_of(name), value))
    settings = load_settings()
    unread = [name for name, field in Settings.model_fields.items() if getattr(settings, name) == field.get_default()]
    assert unread == []
    assert (settings.log_level, settings.mqtt_port, settings.mqtt_tls_enabled) == ("DEBUG", 61, True)
    assert settings.client_id_base == "text"


def test_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MQTT_BROKER=größe.example\nMQTT_PORT=1884\nOTHER=x\nMQTT_USERNAME=\n", "utf-8")
    monkeypatch.setenv("MQTT_PORT", "1885")
    settings = load_settings()
    assert (settings.mqtt_broker, settings.mqtt_port, settings.mqtt_username) == ("größe.example", 1885, None)


def test_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("MQTT_PORT=1884".encode("utf-16"))
    with pytest.raises(ConfigurationError, match=r"^\.env="):
        load_settings()


def test_empty_means_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(variable_of(name), " " if name != "key_prefix" else "")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("text", "value"),
    [(text, True) for text in ("true", "True", "1", "yes", "on", "ON", "y")]
    + [(text, False) for text in ("false", "FALSE", "0", "no", "off", "n")],
)
def test_spellings_of_true_and_false(monkeypatch: pytest.MonkeyPatch, text: str, value: bool) -> None:
    monkeypatch.setenv("MQTT_TLS_ENABLED", text)
    assert load_settings().mqtt_tls_enabled is value


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("MQTT_PORT", "abc", "a whole number from 1 to 65535"),
        ("MQTT_PORT", "0", "a whole number from 1 to 65535"),
        ("MQTT_PORT", "1883.5", "a whole number from 1 to 65535"),
        ("MQTT_PORT", "tcp://10.0.0.1:1883", "`enableServiceLinks: false` into the pod's spec"),
        ("INGEST_HEALTH_PORT", "udp://10.0.0.1:80", "a whole number from 1 to 65000; Kubernetes sets this"),
        ("WORKER_COUNT", "0", "a whole number from 1 to 1024"),
        ("INGEST_MAX_PAYLOAD_BYTES", "-1", "a whole number from 1"),
        ("MQTT_TLS_ENABLED", "maybe", "true or false (also yes and no, on and off, 1 and 0)"),
        ("ROUTEMQ_LOG_LEVEL", "LOUD", "one of 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'"),
        ("MQTT_PROTOCOL", "4", "one of 'auto', '5' or '3.1.1'"),
        ("MQTT_GROUP_NAME", "a/b", "without '/', '+', '#' and white space"),
        ("MQTT_BROKER", "mqtt://h", "a host name or address alone; the port is MQTT_PORT"),
        ("MQTT_BROKER", "h:1883", "a host name or address alone; the port is MQTT_PORT"),
        ("MQTT_BROKER", "[::1]:1883", "a host name or address alone; the port is MQTT_PORT"),
        ("MQTT_BROKER", "h\tx", "a host name or address alone"),
        ("MQTT_BROKER", "::1::2", "looks like an IPv6 address, and is none"),
        ("MQTT_BROKER", ".internal", "parts of 1 to 63 characters between the dots"),
        ("MQTT_BROKER", "a..b", "parts of 1 to 63 characters"),
        ("MQTT_BROKER", "x" * 70 + ".example", "parts of 1 to 63 characters"),
        ("MQTT_BROKER", "x." * 130 + "example", "253 characters in all"),
        ("MQTT_TLS_CA_CERTS", "/nowhere/ca.pem", "does not exist or cannot be read"),
    ],
)
def test_bad_value_names_variable_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert caught.value.variable == variable
    assert repr(value)[:100] in str(caught.value) or value in str(caught.value)
    assert allowed in caught.value.allowed


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("[::1]", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("my_broker.internal", "my_broker.internal"),
        ("x" * 63 + ".example.", "x" * 63 + ".example."),
        ("größe.example", "größe.example"),
        ("192.0.2.1", "192.0.2.1"),
    ],
)
def test_hosts_that_can_be_looked_up(monkeypatch: pytest.MonkeyPatch, value: str, host: str) -> None:
    set_all(monkeypatch, MQTT_BROKER=value)
    assert load_settings().mqtt_broker == host


@pytest.mark.parametrize("variable", ["MQTT_USERNAME", "MQTT_PASSWORD", "MQTT_CLIENT_ID", "MQTT_GROUP_NAME"])
@pytest.mark.parametrize("value", ["x" * 65_536, "ü" * 32_768, "\udcff"], ids=["long", "long in bytes", "no UTF-8"])
def test_what_mqtt_has_no_room_or_no_word_for_is_told_in_one_short_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    set_all(monkeypatch, **{"MQTT_USERNAME": "u", variable: value})
    with pytest.raises(ConfigurationError, match=f"^{variable}=.*UTF-8 text") as caught:
        load_settings()
    assert len(str(caught.value)) < 300
    if variable in SECRETS:
        assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "variable", "allowed"),
    [
        ({"WORKER_MIN_COUNT": "11"}, "WORKER_MIN_COUNT", "at most WORKER_MAX_COUNT, which is 10"),
        ({"MQTT_TLS_KEYFILE": __file__}, "MQTT_TLS_KEYFILE", "only together with MQTT_TLS_CERTFILE"),
        ({"MQTT_PASSWORD": "s3cret"}, "MQTT_PASSWORD", "only together with MQTT_USERNAME"),
        ({"REDIS_TLS_KEYFILE": __file__, "REDIS_URL": "rediss://h"}, "REDIS_TLS_KEYFILE", "with REDIS_TLS_CERTFILE"),
        ({"REDIS_TLS_CA_CERTS": __file__}, "REDIS_TLS_CA_CERTS", "only with a REDIS_URL that begins with rediss://"),
    ],
)
def test_values_that_do_not_fit_together(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], variable: str, allowed: str
) -> None:
    set_all(monkeypatch, **variables)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert caught.value.variable == variable
    assert allowed in caught.value.allowed


@pytest.mark.parametrize(
    "url", ["http://:s3cret@h", "redis://:s3cret@h:port", "redis://:s3/cret@h", "redis://:s3cret@", "redis://:s3cret@h/x",
            "redis://:s3cret@h:0", "redis://:s3cret@h:70000", "s3cret", '"redis://:s3cret@h"'],
)  # fmt: skip
def test_bad_redis_url_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(ConfigurationError, match=r"^REDIS_URL=\(hidden\)") as caught:
        load_settings()
    assert "s3cret" not in f"{caught.value!r} {caught.value}"
    assert "cret@" not in f"{caught.value!r} {caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("url", ["redis://h", "redis://h/", "redis://user:pa%2Fss@h:1/15", "rediss://:p@[::1]:6380/0"])
def test_redis_urls_that_are_fine(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", f"{url}\n")
    assert load_settings().redis_url.get_secret_value() == url


def test_secrets_are_in_no_repr_and_no_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    set_all(monkeypatch, REDIS_URL="redis://:s3cret@h:1/0", MQTT_USERNAME="u", MQTT_PASSWORD="s3cret")
    settings = load_settings()
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").warning(
            "%s %r %s %s", settings, settings, settings.model_dump(), settings.model_dump_json()
        )
    assert "s3cret" not in caplog.text
    assert settings.mqtt_password == SecretStr("s3cret")
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_every_secret_is_a_secret() -> None:
    found = {variable_of(name) for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert found == SECRETS


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().mqtt_port = 1


@pytest.mark.parametrize("value", ["nan", "inf", "1e400", "9" * 30, "9" * 5000, "0x10", "\u0663", "abc", "-1"])
@pytest.mark.parametrize(
    "variable",
    [
        "INGEST_MAX_QUEUE_LENGTH",
        "ROUTEMQ_VISIBILITY_TIMEOUT_S",
        "DLQ_RETENTION_DAYS",
        "DLQ_MAX_ENTRIES",
        "WORKER_COUNT",
    ],
)
def test_a_number_that_nobody_can_mean_is_refused_in_a_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"^{variable}=.* cannot be used: a whole number from") as caught:
        load_settings()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(("variable", "value"), [("DLQ_REDACT", ","), ("DLQ_REDACT", " , ,"), ("ROUTEMQ_TASKS", ",")])
def test_a_list_of_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match="this one has none"):
        load_settings()


def test_a_port_that_kubernetes_set_is_told_to_a_health_check_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_HEALTH_PORT", "tcp://10.0.0.1:9465")
    told = CliRunner().invoke(main, ["health", "worker"])
    assert (told.exit_code, "enableServiceLinks: false" in told.output) == (2, True)
