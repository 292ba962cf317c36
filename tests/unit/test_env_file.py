"""`.env` is taken as it stands, or not at all."""

from pathlib import Path

import pytest

from routemq.env_file import read_env_file
from routemq.errors import ConfigurationError
from routemq.settings import Settings, load_settings, variable_of

VARIABLES = {"REDIS_URL", "MQTT_PASSWORD"}


def read(path: Path, text: str | bytes) -> dict[str, str]:
    file = path / ".env"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_env_file(file, variables=VARIABLES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("MQTT_PASSWORD=p", "p"),
        ("export MQTT_PASSWORD=p", "p"),
        ("mqtt_password = p  # why", "p"),
        ("MQTT_PASSWORD='p q'", "p q"),
        ('MQTT_PASSWORD="p\\"q"', 'p"q'),
        ("MQTT_PASSWORD=p#q", "p#q"),
        ("MQTT_PASSWORD=$x$$", "$x$$"),
        ("MQTT_PASSWORD='${x}'", "${x}"),
        ("MQTT_PASSWORD=", ""),
        ("\ufeffMQTT_PASSWORD=p\r\n\r\nOTHER=x\r\n", "p"),
        ("MQTT_PASSWORD=a\nMQTT_PASSWORD=p", "p"),
        ("OTHER=${HOME}/x\nLONE\nMQTT_PASSWORD=p\nCERT='-----\n-----'\n", "p"),
    ],
)
def test_a_line_is_taken_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, value: str) -> None:
    monkeypatch.setenv("x", "not this")
    assert read(tmp_path, text) == {"MQTT_PASSWORD": value}


@pytest.mark.parametrize(
    ("text", "line", "mend"),
    [
        ("\n# why\nMQTT_PASSWORD s3cret\n", 3, "NAME=value"),
        ("A=1\n\n\nMQTT_PASSWORD: s3cret\n", 4, "NAME=value"),
        ("A=1\nMQTT_PASSWORD='s3cret\nB=2\n", 2, "quotes that are closed"),
        ('MQTT_PASSWORD="s3cret" s3cret\n', 1, "nothing but a comment behind"),
        ('MQTT_PASSWORD="s3cret\nREDIS_URL="\n', 1, "perhaps a quote is not closed"),
        ("REDIS_URL\n", 1, "no '='"),
        ("A=1\r\nMQTT_PASSWORD=s3${cret}\r\n", 2, "nothing is put in the place of ${…}"),
        ('MQTT_PASSWORD="s3${cret}"\n', 1, "in single quotes"),
        ("MQTT_PASSWORD=${cret:-s3cret}\n", 1, "in single quotes"),
        ("[section]\nA=1\n= s3cret\n", 3, "NAME=value"),
    ],
)
def test_a_line_that_cannot_be_taken_is_named_and_not_shown(tmp_path: Path, text: str, line: int, mend: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^\.env=\(line {line}\) cannot be used: ") as caught:
        read(tmp_path, text)
    assert mend in str(caught.value)
    assert "s3" not in str(caught.value)


def test_settings_come_from_the_file_by_every_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ROUTEMQ_KEY_PREFIX='${x}:'\nREDIS_URL=redis://:${x}@h\n", "utf-8")
    with pytest.raises(ConfigurationError, match=r"line 2"):
        load_settings()
    (tmp_path / ".env").write_text("ROUTEMQ_KEY_PREFIX='${x}:'\nREDIS_URL=redis://:%24%7Bx%7D@h\n", "utf-8")
    settings = load_settings()
    assert (settings.key_prefix, settings.redis.password) == ("${x}:", "${x}")
