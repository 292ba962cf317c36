"""What deploys an application: made of its routes, valid, in step with deploy/, and closed where it should be."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from routemq_ops.manifests.compose import compose_file
from routemq_ops.manifests.deployment import Deployment, queue_workers
from routemq_ops.manifests.kubernetes import kubernetes_files
from routemq_ops.manifests.systemd_units import UnitNameTooLongError, escaped, systemd_files

from routemq.metrics.exposition import FleetMetrics
from routemq.metrics.fleet import FleetReading, QueueReading, ServerReading
from routemq.metrics.presence import Processes
from routemq.queues import expand_queues
from routemq.settings import Settings, variable_of
from routemq.supervision.shares import worker_queues
from tests.processes import clean_environment
from tests.servers import REPOSITORY

KUBERNETES = REPOSITORY / "deploy" / "kubernetes"
SYSTEMD = REPOSITORY / "deploy" / "systemd"
GRACE_S, STOP_S = 60, 75
OLDEST, NEWEST = "1.30.0", "1.34.0"
ODD = {"sensors": 2, "sensors.data": 3, "a-b": 1, "a.b": 1, "Größe\"'$x": 1, "%h": 1, "x/y\\z": 1, "q" * 90: 1, ":": 1}
ODD |= {"$(HOME)": 1, "a$$b$": 12, "🔥": 1}


def as_kubernetes_fills_in(argument: str) -> str:
    """Return a command's word as a container gets it, of a pod whose environment has HOME."""
    filled_in = {"$$": "$", "$(HOME)": "/root"}
    return re.sub(r"\$\$|\$\(HOME\)", lambda found: filled_in[found[0]], argument)


def of_deploy(folder: Path) -> dict[str, str]:
    if folder.is_file():
        return {folder.name: folder.read_text("utf-8")}
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}


def odd() -> Deployment:
    return Deployment(workers=queue_workers(worker_queues(ODD), ODD), image="routemq:latest", grace_s=GRACE_S)


def objects(files: dict[str, str]) -> list[dict[str, Any]]:
    return [
        found
        for path, text in files.items()
        if path.endswith(".yaml") and not path.endswith("kustomization.yaml")
        for found in yaml.safe_load_all(text)
    ]


def of_kind(*kinds: str, files: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    found = objects(of_deploy(KUBERNETES) if files is None else files)
    return {item["metadata"]["name"]: item for item in found if item["kind"] in kinds}


@pytest.mark.parametrize(
    ("folder", "options", "then"),
    [
        (KUBERNETES, (), "kubectl apply -k"),
        (SYSTEMD, ("--format", "systemd", "--project", "/srv/routemq"), "sudo cp"),
        (REPOSITORY / "docker-compose.yml", ("--format", "compose"), "docker compose --project-directory . -f"),
    ],
    ids=["kubernetes", "systemd", "compose"],
)
def test_deploy_is_what_the_command_writes_for_the_sample_application(
    tmp_path: Path, folder: Path, options: tuple[str, ...], then: str
) -> None:
    command = ["routemq", "manifests", *options, "--output", str(tmp_path)]

    def written(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more], cwd=REPOSITORY, env=clean_environment(), capture_output=True, encoding="utf-8",
            check=False,
        )  # fmt: skip

    first = written()
    assert (
        first.returncode,
        f"next, when they are as you want them (docs/deployment.md):\n  {then}" in first.stdout,
    ) == (0, True)
    made = of_deploy(tmp_path)
    assert made == of_deploy(folder), "scripts/manifests writes them anew"
    assert all(f"\n  {path}\n" in first.stdout for path in made)
    path, text = next(iter(made.items()))
    (tmp_path / path).write_text("mine", "utf-8")
    again = written()
    assert (again.returncode, path in again.stderr, (tmp_path / path).read_text("utf-8")) == (1, True, "mine")
    assert written("--force").returncode == 0
    assert (tmp_path / path).read_text("utf-8") == text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--output", "/proc/self/nowhere"), "cannot be written"),
        (("--output", "{file}/x"), "cannot be written"),
        (("--image", ""), "perhaps a variable is not set"),
        (("--longest-task", "0"), "0 is not in the range"),
    ],
    ids=["not there", "under a file", "no image", "no time"],
)
def test_what_cannot_be_is_told_in_a_line(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    (tmp_path / "file").touch()
    given = [option.format(file=tmp_path / "file") for option in options]
    run = subprocess.run(
        ["routemq", "manifests", *given], cwd=REPOSITORY, env=clean_environment(), capture_output=True,
        encoding="utf-8", check=False,
    )  # fmt: skip
    assert run.returncode in (1, 2)
    assert words in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("what", ["the sample application", "odd names"])
def test_every_object_is_valid_by_kubernetes_own_schema(version: str, what: str) -> None:
    files = kubernetes_files(odd()) if what == "odd names" else of_deploy(KUBERNETES)
    found = [item for item in objects(files) if item["kind"] != "ScaledObject"]
    for item in found:
        kubernetes_validate.validate(item, version, strict=True)
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", item["metadata"]["name"])
    assert len(found) > 20


def test_a_schema_that_is_broken_is_found() -> None:
    broken = of_kind("Deployment")["ingest"]
    broken["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["httpget"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, NEWEST, strict=True)


def test_each_kustomization_names_files_that_are_there_and_every_file_is_named() -> None:
    files = of_deploy(KUBERNETES)
    named: set[str] = set()
    for path in files:
        if not path.endswith("kustomization.yaml"):
            continue
        named.add(path)
        found, folder = yaml.safe_load(files[path]), (KUBERNETES / path).parent
        generated = [
            name for made in found.get("configMapGenerator", ()) for name in made.get("files", made.get("envs", ()))
        ]
        for name in [*found.get("resources", ()), *found.get("components", ()), *generated]:
            target = (folder / name).resolve()
            assert target.exists(), f"{path} names {name}"
            if target.is_file():
                named.add(str(target.relative_to(KUBERNETES)))
    assert named == set(files)


def test_a_worker_serves_each_queue_whatever_its_name() -> None:
    workers = of_kind("Deployment", files=kubernetes_files(odd()))
    commands = [item["spec"]["template"]["spec"]["containers"][0]["command"] for item in workers.values()]
    served = {as_kubernetes_fills_in(command[command.index("-Q") + 1]) for command in commands if "-Q" in command}
    assert served == set(worker_queues(ODD))
    scaled = of_kind("ScaledObject", files=kubernetes_files(odd()))
    metrics = [trigger["metadata"]["valueLocation"] for item in scaled.values() for trigger in item["spec"]["triggers"]]
    labels = {json.loads(re.fullmatch(r"routemq_queue_unfinished\{queue=(.*)\}", metric)[1]) for metric in metrics}  # type: ignore[index]
    assert labels == set(ODD)
    assert set(scaled) == {name for name in workers if name.startswith("worker-")}


@pytest.mark.parametrize("name", sorted(of_kind("Deployment", "StatefulSet")))
def test_every_pod_is_unprivileged_watched_and_without_service_links(name: str) -> None:
    pod = of_kind("Deployment", "StatefulSet")[name]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (pod["enableServiceLinks"], pod["automountServiceAccountToken"]) == (False, False)
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert container["resources"]["limits"]["memory"]
    assert container["readinessProbe"]
    if name in ("mosquitto", "redis"):
        return
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["envFrom"] == [{"configMapRef": {"name": "routemq"}}]


def test_what_may_be_many_is_spread_has_a_budget_and_time_to_end() -> None:
    pods, budgets = of_kind("Deployment"), of_kind("PodDisruptionBudget")
    assert set(budgets) == set(pods) - {"flower"}
    for name in budgets:
        pod = pods[name]["spec"]["template"]["spec"]
        assert {rule["topologyKey"] for rule in pod["topologySpreadConstraints"]} == {
            "topology.kubernetes.io/zone", "kubernetes.io/hostname",
        }  # fmt: skip
        assert budgets[name]["spec"]["selector"] == pods[name]["spec"]["selector"]
        assert pod["terminationGracePeriodSeconds"] > GRACE_S
        # KEDA's, or an operator's.
        assert ("replicas" in pods[name]["spec"]) == (name == "ingest")


def test_settings_are_settings_and_secrets_are_files_of_the_secret() -> None:
    lines = [line for line in of_deploy(KUBERNETES)["base/settings.env"].splitlines() if line and line[0] != "#"]
    settings = dict(line.split("=", 1) for line in lines)
    names = {variable_of(name) for name in Settings.model_fields}
    assert {name.removesuffix("_FILE") for name in settings} <= names
    assert settings["REDIS_URL_FILE"].startswith("/run/secrets/routemq/")
    assert not {"REDIS_URL", "MQTT_PASSWORD", "ALERT_WEBHOOK"} & set(settings)
    assert (settings["MQTT_CLIENT_ID"], settings["SHUTDOWN_GRACE_S"]) == ("auto", str(GRACE_S))
    assert "kind: Secret" not in "".join(of_deploy(KUBERNETES).values())


def test_keda_scales_by_a_metric_that_is_served_in_all_regions() -> None:
    reading = FleetReading(
        at=0, totals={}, dead={}, full_routes=frozenset(), processes=Processes(at=0, reports=()),
        queues={
            "retries": QueueReading(waiting=0, delayed=4, held=1),
            "paused": QueueReading(waiting=9000, delayed=40),
            "empty": QueueReading(),
        },
        resting=frozenset({"paused", "empty"}), server=ServerReading(), lease_holder=None,
    )  # fmt: skip
    samples = [sample for family in FleetMetrics(lambda: reading, wanted={}).collect() for sample in family.samples]
    served = {sample.name for sample in samples}
    # Four retries that are due later keep a worker: nothing else would move them to their queue.
    unfinished = {sample.labels["queue"]: sample.value for sample in samples if sample.name.endswith("_unfinished")}
    assert unfinished == {"retries": 5, "paused": 1, "empty": 0}
    for name, item in of_kind("ScaledObject").items():
        assert item["spec"]["scaleTargetRef"] == {"name": name}
        (trigger,) = item["spec"]["triggers"]
        assert trigger["metadata"]["valueLocation"].partition("{")[0] in served
        assert trigger["metadata"]["format"] == "prometheus"
        assert name in of_kind("Deployment")
    # It asks from a namespace of its own, for that of the overlay, which each of them puts into the address.
    assert trigger["metadata"]["url"] == "http://routemq-flower.routemq.svc.cluster.local:9466/metrics"
    overlays = [KUBERNETES / "one-region/kustomization.yaml", *KUBERNETES.glob("three-regions/*/kustomization.yaml")]
    for overlay in (yaml.safe_load(path.read_text("utf-8")) for path in overlays):
        (replacement,) = overlay["replacements"]
        assert replacement["source"] == {
            "kind": "Service", "name": "routemq-flower", "fieldPath": "metadata.namespace",
        }  # fmt: skip
        (target,) = replacement["targets"]
        assert target["options"] == {"delimiter": ".", "index": 1}
        assert (overlay["namespace"], target["select"]) == (overlay["namespace"], {"kind": "ScaledObject"})


def test_compose_has_a_service_for_each_queue_and_the_rest_as_it_is() -> None:
    sample = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text("utf-8"))["services"]
    others_of_one = [
        {"sensors.data": 1, "sensors.raw": 1},
        {"sensors": 1, "flaky.x": 1},
        {"SENSORS": 1, "sensors.x": 1},
    ]
    for queues in (ODD, *others_of_one):
        workers = queue_workers(worker_queues(queues), queues)
        text = compose_file(Deployment(workers=workers, image="routemq-sample", grace_s=GRACE_S))
        assert len(re.findall(r"^  worker-[^ ]+:$", text, re.MULTILINE)) == len(workers)
        services = yaml.safe_load(text)["services"]
        # A dollar that is not for Compose to fill in is written twice.
        asked = [
            item["command"][item["command"].index("-Q") + 1].replace("$$", "$")
            for name, item in services.items()
            if name.startswith("worker-")
        ]
        assert sorted(name for queue in asked for name in expand_queues([queue], queues)) == sorted(queues)
        others = {name: item for name, item in services.items() if not name.startswith("worker-")}
        assert others == {name: item for name, item in sample.items() if not name.startswith("worker-")}


def test_compose_is_given_the_image_the_time_and_the_memory_that_the_workers_need() -> None:
    workers = queue_workers({"few": 6, "many": 40}, ["few", "many"])
    made = yaml.safe_load(compose_file(Deployment(workers=workers, image="registry/shop:1.2", grace_s=300)))["services"]
    for worker in (made["worker-few"], made["worker-many"]):
        assert worker["image"] == made["flower"]["image"] == "registry/shop:1.2"
        assert worker["environment"]["SHUTDOWN_GRACE_S"] == "${SHUTDOWN_GRACE_S:-300}"
        assert worker["stop_grace_period"] == "${WORKER_STOP_GRACE:-330s}"
    limits = {name: made[f"worker-{name}"]["mem_limit"] for name in ("few", "many")}
    assert limits == {"few": "${WORKER_MEMORY:-512m}", "many": "${WORKER_MEMORY:-2688m}"}


def test_units_pass_systemds_own_check(tmp_path: Path) -> None:
    files = systemd_files(odd(), project=REPOSITORY, environment=Path(sys.prefix))
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    # An instance of each, as the target wants them.
    (target,) = (line for line in files["routemq.target"].splitlines() if line.startswith("Wants="))
    wanted = target.removeprefix("Wants=").replace("%%", "%").split()
    assert wanted == [
        "routemq-ingest.service",
        *(f"routemq-worker@{escaped(name)}.service" for name in worker_queues(ODD)),
    ]
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in files)]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    # What it says of others' units of this machine is theirs.
    assert (run.returncode, [line for line in run.stderr.splitlines() if "routemq" in line]) == (0, [])


@pytest.mark.parametrize("name", list(ODD))
def test_a_queue_is_escaped_as_systemd_escapes_it(name: str) -> None:
    run = subprocess.run(["systemd-escape", name], capture_output=True, encoding="utf-8", check=True)
    assert escaped(name) == run.stdout.removesuffix("\n")


def test_a_queue_that_no_unit_can_be_named_after_is_told() -> None:
    queues = {"ö" * 30: 1, "ö" * 29: 1}
    deployment = Deployment(workers=queue_workers(queues, queues), image="x", grace_s=GRACE_S)
    with pytest.raises(UnitNameTooLongError, match=r"queue .*would have 263 characters, of 255"):
        systemd_files(deployment, project=REPOSITORY, environment=Path(sys.prefix))


def test_units_stop_later_than_the_longest_task_and_keep_secrets_out_of_the_environment() -> None:
    for name, text in of_deploy(SYSTEMD).items():
        if name.endswith(".target"):
            continue
        values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#")
        assert values["Type"] == "notify"
        assert int(values["TimeoutStopSec"]) > GRACE_S
        assert int(values["WatchdogSec"]) > 0
        # One that is stopped hears no abort.
        assert int(values["TimeoutAbortSec"]) < int(values["TimeoutStopSec"])
        assert (values["KillMode"], values["DynamicUser"], values["ProtectSystem"]) == ("mixed", "yes", "strict")
        assert "REDIS_URL=" not in text
        if "ingest" not in name:
            assert f"SHUTDOWN_GRACE_S={GRACE_S}" in text
            assert values["TimeoutStopSec"] == str(STOP_S)
