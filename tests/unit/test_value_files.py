"""A setting's value may be what a file holds; what is wrong with the file is told, and nothing of it shown."""

import os
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr
from routemq_flower.upstream.checked_options import check_environment

from routemq.errors import ConfigurationError
from routemq.settings import Settings, load_settings, variable_of
from routemq.supervision.commands import environment_of


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
        monkeypatch.delenv(f"{variable_of(name)}_FILE", raising=False)
    monkeypatch.chdir(tmp_path)


def written(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"], ids=["bare", "echo", "windows", "two"])
def test_every_secret_comes_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: str) -> None:
    values = {"MQTT_PASSWORD": " sé cret ", "REDIS_URL": "redis://:pw@h:1/2", "ALERT_WEBHOOK": "https://chat.example/x"}
    for name, value in values.items():
        monkeypatch.setenv(f"{name}_FILE", written(tmp_path / name, value + end))
    # A Compose file's `${MQTT_PASSWORD:-}` of a variable that is not set.
    monkeypatch.setenv("MQTT_PASSWORD", "")
    # Not only secrets: who keeps the name beside the password finds that it works.
    monkeypatch.setenv("MQTT_USERNAME_FILE", written(tmp_path / "user", "ana\n"))
    settings = load_settings()
    for name, value in values.items():
        assert getattr(settings, name.lower()) == SecretStr(value)
    assert settings.mqtt_username == "ana"


def test_env_file_may_name_files_and_the_environment_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("REDIS_URL_FILE=url\nROUTEMQ_KEY_PREFIX_FILE=/nowhere\nMQTT_BROKER=b\n", "utf-8")
    written(tmp_path / "url", "redis://of-the-file")
    written(tmp_path / "broker", "broker.example")
    monkeypatch.setenv("ROUTEMQ_KEY_PREFIX", "x:")
    monkeypatch.setenv("MQTT_BROKER_FILE", "broker")
    settings = load_settings()
    assert (settings.redis.host, settings.key_prefix, settings.mqtt_broker) == ("of-the-file", "x:", "broker.example")
    monkeypatch.setenv("REDIS_URL", "redis://of-the-environment")
    assert load_settings().redis.host == "of-the-environment"


@pytest.mark.parametrize(
    ("content", "allowed"),
    [
        (None, "No such file"),
        ("", "this one is empty"),
        (" \n", "this one is empty"),
        ("\n\n", "this one is empty"),
        ("s3cret\nother", "several lines"),
        ("\ns3cret", "several lines"),
        (b"\x89PNG\r\n\x1a\n s3cret", "binary, or in another encoding"),
        ("s3cret".encode("utf-16"), "binary, or in another encoding"),
        ("s3cret".encode("utf-16-le"), "NUL bytes"),
        ("s3cret" * 20_000, "more than 65535 bytes"),
    ],
    ids=["missing", "empty", "blank", "line breaks", "two lines", "late", "binary", "utf-16", "nul", "long"],
)
@pytest.mark.parametrize("where", ["environment", ".env"])
def test_file_that_is_no_value_is_told_with_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | bytes | None, allowed: str, where: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        written(path, content)
    if where == ".env":
        (tmp_path / ".env").write_text(f"REDIS_URL_FILE={path}\n", "utf-8")
    else:
        monkeypatch.setenv("REDIS_URL_FILE", str(path))
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert caught.value.variable == "REDIS_URL_FILE"
    assert str(path) in str(caught.value)
    assert allowed in caught.value.allowed
    assert "s3cret" not in str(caught.value)


def test_folder_device_pipe_and_file_of_somebody_else_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody writes: to open it is to wait for ever
    paths = dict.fromkeys(
        [str(tmp_path), "/dev/zero", "/dev/null", str(tmp_path / "pipe")], "this one is a folder, a pipe or a device"
    )
    if os.geteuid() != 0:
        (tmp_path / "theirs").touch()
        (tmp_path / "theirs").chmod(stat.S_IWUSR)
        paths[str(tmp_path / "theirs")] = "Permission denied"
    for path, allowed in paths.items():
        monkeypatch.setenv("MQTT_PASSWORD_FILE", path)
        with pytest.raises(ConfigurationError, match=allowed):
            load_settings()


def test_value_and_file_at_once_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:s3cret@h")
    monkeypatch.setenv("REDIS_URL_FILE", written(tmp_path / "url", "redis://other"))
    with pytest.raises(ConfigurationError, match=r"^REDIS_URL_FILE=.*only without REDIS_URL") as caught:
        load_settings()
    assert "s3cret" not in str(caught.value)


def test_bad_value_of_a_file_is_told_without_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REDIS_URL_FILE", written(tmp_path / "url", "http://:s3cret@h"))
    with pytest.raises(ConfigurationError, match=r"^REDIS_URL=\(hidden\)") as caught:
        load_settings()
    assert "s3cret" not in str(caught.value)


def test_processes_of_a_supervisor_may_inherit_the_file_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REDIS_URL_FILE", written(tmp_path / "url", "redis://h/3"))
    for name, value in environment_of(load_settings()).items():
        monkeypatch.setenv(name, value)
    assert load_settings().redis_url.get_secret_value() == "redis://h/3"


def test_no_variable_is_named_like_the_file_of_another() -> None:
    names = {variable_of(name) for name in Settings.model_fields}
    assert not names & {f"{name}_FILE" for name in names}


def test_flowers_secrets_come_from_files_too(tmp_path: Path) -> None:
    environment = {
        "FLOWER_BASIC_AUTH_FILE": written(tmp_path / "login", "ana:secret\n"),
        "FLOWER_COOKIE_SECRET_FILE": written(tmp_path / "cookie", "xyz\n"),
    }
    for _ in range(2):  # the second time as Flower's own reload does
        check_environment(environment)
    assert (environment["FLOWER_BASIC_AUTH"], environment["FLOWER_COOKIE_SECRET"]) == ("ana:secret", "xyz")
    with pytest.raises(ConfigurationError, match=r"^FLOWER_BASIC_AUTH_FILE=/nowhere"):
        check_environment({"FLOWER_BASIC_AUTH_FILE": "/nowhere"})
    # A variable that somebody forgot to set must not become a Flower without a password.
    with pytest.raises(ConfigurationError, match="user:password"):
        check_environment({"FLOWER_BASIC_AUTH_FILE": ""})
