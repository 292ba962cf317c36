"""Other Celery beside ours: another project's broker in the environment, another app in the process."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from routemq.routing import Router
from tests.processes import running, wait_until
from tests.servers import REPOSITORY, Redis, free_port
from tests.workers import Bench


@pytest.fixture
def theirs(valkey_server: Redis) -> Redis:
    return valkey_server


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


def _environment_of_theirs(theirs: Redis) -> dict[str, str]:
    names = ("BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND")
    return dict.fromkeys(names, theirs.url) | {"CELERY_CONFIG_MODULE": "their.settings"}


def test_a_worker_serves_redis_url_whatever_celerys_environment_says(bench: Bench, theirs: Redis) -> None:
    message = bench.put("raw/x")
    with bench.worker("-Q", "work", "-P", "threads", env=_environment_of_theirs(theirs)) as worker:
        (note,) = bench.wait_for_notes("raw", 1)
        output = worker.output()
        purged = bench.celery("purge", "-f", **_environment_of_theirs(theirs))

    assert note["id"] == message.id
    (warning,) = [line for line in output.splitlines() if line.startswith("Warning: ")]
    assert f" BROKER_URL={theirs.url}, CELERY_RESULT_BACKEND={theirs.url}, CELERY_CONFIG_MODULE=their." in warning
    assert f"RouteMQ's broker is REDIS_URL, {bench.store.url}" in warning
    assert ".> results:     disabled://" in output
    assert purged.returncode == 0


@pytest.mark.parametrize(
    ("options", "command"),
    [
        (["-b", "redis://:pw@theirs/0"], ["worker"]),
        (["-b", "redis://:pw@theirs/0"], ["flower"]),
        (["--result-backend", "redis://:pw@theirs/0"], ["inspect", "ping"]),
        (["--config", "theirs"], ["beat"]),
        (["--loader", "theirs"], ["worker"]),
    ],
)
def test_a_command_that_names_another_broker_is_refused(bench: Bench, options: list[str], command: list[str]) -> None:
    ended = bench.celery(*command, options=options)

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("Error: --")
    assert options[1].replace(":pw@", "") in line
    assert f"REDIS_URL, {bench.store.url}" in line


def test_the_same_broker_may_be_named_again(bench: Bench) -> None:
    ended = bench.celery("report", options=["-b", bench.store.url])

    assert ended.returncode == 0
    assert ended.stderr == ""


def test_settings_behind_the_command_do_not_move_the_worker(bench: Bench, theirs: Redis) -> None:
    ended = bench.celery("worker", "--", f"broker.url={theirs.url}")

    assert ended.returncode == 2
    assert f"broker.url {theirs.url} cannot be used: RouteMQ's broker is REDIS_URL, {bench.store.url}" in ended.stderr


def test_another_app_in_a_controller_keeps_its_own_broker_and_transport(
    own_store: Callable[..., Redis], bench: Bench, tmp_path: Path
) -> None:
    theirs = own_store("valkey")
    (tmp_path / "charging.py").write_text(
        "import os\n"
        "from celery import Celery\n"
        "from routemq import Router\n"
        "billing = Celery('billing', broker=os.environ['BILLING'])\n"
        "router = Router()\n"
        "def charge():\n"
        "    billing.send_task('now')\n"
        "    billing.send_task('soon', countdown=5)\n"
        "router.on('charge', charge, queue='charge')\n",
        encoding="utf-8",
    )
    env = {"ROUTEMQ_ROUTERS": "charging", "BILLING": theirs.url, "PYTHONPATH": f"{REPOSITORY}:{tmp_path}"}
    router = Router()
    router.on("charge", "charging:charge", queue="charge")
    bench = Bench(store=bench.store, key_prefix=bench.key_prefix, router=router)
    with bench.worker("-P", "threads", env=env), theirs.client() as client:
        bench.put("charge")
        wait_until(lambda: client.llen("celery") == 2, message="both messages lie where a plain worker looks")
        found = [orjson.loads(item)["headers"] for item in client.lrange("celery", 0, -1)]
        keys = {key.decode() for key in client.scan_iter()}

    assert [(header["task"], header["eta"] is not None) for header in found] == [("soon", True), ("now", False)]
    assert not [key for key in keys if key.startswith("routemq")]


def test_flower_shows_the_broker_that_it_asks(bench: Bench, theirs: Redis) -> None:
    port = free_port()
    flower = ["celery", "-A", "routemq", "flower", f"--port={port}", "--address=127.0.0.1"]
    env = bench.environment() | _environment_of_theirs(theirs)
    with running(flower, cwd=REPOSITORY, env=env, fork=True) as process:
        output = process.wait_for_output("Registered tasks")

    assert f"Broker: {bench.store.url.replace('//', '//:**@')}" in output
