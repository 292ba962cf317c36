"""How Flower refuses to start."""

from pathlib import Path

import pytest

from tests.flower import serving
from tests.processes import completed
from tests.servers import HOST, REPOSITORY, Redis, free_port

LINKS = {"FLOWER_PORT": "tcp://10.0.0.1:5555", "FLOWER_SERVICE_HOST": "10.0.0.1"}


def refused(*options: str, env: dict[str, str]) -> str:
    """Start Flower, which must end with exit code 2, and return the one line it writes."""
    of_this_test = {"ROUTEMQ_ROUTERS": "tests.applications.flower", "FLOWER_PORT": str(free_port())}
    run = completed(["celery", "-A", "routemq", "flower", *options], cwd=REPOSITORY, env=of_this_test | env)
    assert (run.returncode, run.stdout) == (2, b"")
    (line,) = run.stderr.decode().splitlines()
    return line


def test_the_variables_of_a_kubernetes_service_are_told_from_settings() -> None:
    line = refused(env=LINKS)
    assert line.startswith("Error: FLOWER_PORT='tcp://10.0.0.1:5555' cannot be used: ")
    assert "enableServiceLinks: false" in line


@pytest.mark.parametrize("options", [("--basic_auth=ana:",), ("--basic_auth=",)])
def test_a_password_that_is_empty_is_none(options: tuple[str, ...]) -> None:
    assert "user:password, neither of them empty" in refused(*options, env={})


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--port=abc", "--port='abc' cannot be used: a whole number from 0 to 65535"),
        ("--port", "--port needs a value, and a '=' before it"),
        ("--max_tasks=1e3", "--max_tasks='1e3' cannot be used: a whole number"),
        ("--inspect-timeout=soon", "--inspect-timeout='soon' cannot be used: a number"),
        ("--url_prefix=https://example.org/x y", "cannot be used: a path, such as /flower"),
        ("--basic_auht=ana:secret", "Flower has no option --basic_auht; is --basic_auth meant?"),
        ("--conf=/no/such/file.py", "Flower cannot read its options: FileNotFoundError"),
    ],
)
def test_an_option_that_flower_would_fall_over_is_told_in_one_line(option: str, words: str) -> None:
    line = refused(option, env={})
    assert words in line
    assert "secret" not in line


def test_an_address_that_is_not_here_is_told(redis_server: Redis) -> None:
    assert "Flower cannot listen there, --address=192.0.2.77" in refused("--address=192.0.2.77", env={})
    in_use = refused(f"--address={HOST}", f"--port={redis_server.port}", env={})
    assert f"--port={redis_server.port}: " in in_use


def test_the_configuration_file_has_its_say_before_the_options_are_looked_at(
    redis_server: Redis, tmp_path: Path
) -> None:
    conf = tmp_path / "flowerconfig.py"
    conf.write_text(f'address = "{HOST}"\n', encoding="utf-8")
    # The address of the environment could not be listened on; the others are of Kubernetes services.
    env = {"FLOWER_ADDRESS": "192.0.2.77", "FLOWER_SERVICE_PORT": "5555", "REDIS_PORT": "tcp://10.0.0.2:6379"}
    with serving(redis_server, f"--conf={conf}", env=env) as place:
        place.process.wait_for_output(f"Visit me at http://{HOST}")
