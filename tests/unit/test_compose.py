"""The Compose file and the image: valid, in step with the application, and closed where they should be."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from routemq.queues import expand_queues
from tests.processes import clean_environment
from tests.servers import REPOSITORY

COMPOSE_FILE = REPOSITORY / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = {"mosquitto", "redis"}
WORKERS = {name: service for name, service in SERVICES.items() if name.startswith("worker-")}


@pytest.fixture(scope="module")
def application_queues() -> set[str]:
    """The sample application's queues, read in a process of its own: other tests have other modules called app."""
    program = "import json; from routemq.discovery import load_router; print(json.dumps(list(load_router().queues)))"
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=30,
    )
    return set(json.loads(run.stdout))


def requested_queue(service: dict[str, Any]) -> str:
    command: list[str] = service["command"]
    return command[command.index("-Q") + 1]


def test_file_is_valid_by_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE_FILE)]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=30)
    assert run.returncode == 0, run.stdout + run.stderr


def test_there_is_one_worker_service_for_each_queue_of_the_application(application_queues: set[str]) -> None:
    served = {name: expand_queues([requested_queue(worker)], application_queues) for name, worker in WORKERS.items()}
    assert sorted(queue for queues in served.values() for queue in queues) == sorted(application_queues)
    assert [name for name, queues in served.items() if len(queues) != 1] == []


def test_worker_commands_leave_the_concurrency_to_the_routes() -> None:
    for worker in WORKERS.values():
        assert worker["command"][:4] == ["celery", "-A", "routemq", "worker"]
        assert not {"-c", "--concurrency", "--autoscale"} & set(worker["command"])
        assert set(worker["command"]) >= {"--without-gossip", "--without-mingle"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_watched_restarted_and_unprivileged(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"]
    assert "privileged" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), f"{name} publishes {port} beyond this host"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - SERVERS))
def test_every_process_of_ours_waits_until_both_servers_are_healthy(name: str) -> None:
    wanted = {server: {"condition": "service_healthy"} for server in SERVERS}
    assert SERVICES[name]["depends_on"].items() >= wanted.items()
    assert {"MQTT_BROKER": "mosquitto", "REDIS_URL": "redis://redis:6379/0"}.items() <= SERVICES[name][
        "environment"
    ].items()


def test_redis_is_not_published_and_keeps_every_write() -> None:
    assert "ports" not in SERVICES["redis"]
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options == {"--appendonly": "yes", "--appendfsync": "always", "--maxmemory-policy": "noeviction"}


def test_flower_asks_for_a_password_and_compose_does_not_start_without_one() -> None:
    assert re.search(r"\$\{FLOWER_PASSWORD:\?[^}]+\}", SERVICES["flower"]["environment"]["FLOWER_BASIC_AUTH"])
    assert "FLOWER_PASSWORD=\n" in (REPOSITORY / ".env.example").read_text("utf-8")


def test_mounts_name_files_and_volumes_that_exist() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (REPOSITORY / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"], mount


def test_image_is_built_from_files_that_the_build_context_lets_in() -> None:
    let_in = {
        line[1:] for line in (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }
    copied: set[str] = set()
    for line in (REPOSITORY / "Dockerfile").read_text("utf-8").splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    assert copied == let_in
    assert all((REPOSITORY / source).exists() for source in copied)
