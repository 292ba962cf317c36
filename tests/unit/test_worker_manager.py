"""Which workers there are, and with how many hands. That they run is shown by the tests of `routemq dev`."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr
from routemq_ingest.worker import READY

import routemq
from routemq.errors import UnknownQueueError
from routemq.routing import Router
from routemq.settings import Settings
from routemq.supervision.child import Command
from routemq.supervision.commands import INGEST_READY, environment_of
from routemq.supervision.shares import share_out, worker_queues
from routemq.supervision.worker_manager import UnknownWorkerError, WorkerManager


class Recorder:
    """A supervisor that only remembers what it was to start."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.states = ()
        self.stopped: list[tuple[str, ...]] = []

    def start(self, *commands: Command) -> None:
        self.commands += commands

    def stop(self, *names: str, within_s: float | None = None) -> None:
        self.commands = [command for command in self.commands if command.name not in names]
        self.stopped.append(names)


def application() -> Router:
    router = Router()
    router.on("alerts/{device_id}", "app:alert")
    router.on("sensors/{device_id}/data", "app:data", shared=True, worker_count=3)
    router.on("sensors", "app:all", shared=True, worker_count=2)
    return router


def manager(recorder: Recorder, **options: object) -> WorkerManager:
    return WorkerManager(application(), supervisor=recorder, **{"ingest_workers": 0, **options})  # type: ignore[arg-type]


def queue_of(command: Command) -> str:
    return command.argv[command.argv.index("-Q") + 1]


def test_queue_under_another_one_shares_its_worker() -> None:
    assert worker_queues({"sensors.data": 3, "sensors": 2, "sensors2": 1, "a.b": 1, "a-b": 1}) == {
        "sensors": 5, "sensors2": 1, "a.b": 1, "a-b": 1,
    }  # fmt: skip


def test_one_worker_for_each_queue_with_the_concurrency_left_to_its_routes() -> None:
    recorder = Recorder()
    manager(recorder).start_workers()
    assert [queue_of(command) for command in recorder.commands] == ["alerts", "sensors"]
    assert all("--concurrency" not in command.argv for command in recorder.commands)


def test_num_workers_is_shared_out_by_the_routes_worker_counts() -> None:
    recorder = Recorder()
    manager(recorder).start_workers(12)
    assert {queue_of(command): command.argv[-1] for command in recorder.commands} == {"alerts": "2", "sensors": "10"}


def test_own_celery_tasks_get_a_worker_for_the_queues_that_no_route_uses() -> None:
    recorder = Recorder()
    manager(recorder, settings=Settings(ROUTEMQ_TASKS="app.tasks")).start_workers()
    *_, own = recorder.commands
    assert own.name == "worker own-tasks"
    assert own.argv[own.argv.index("-X") + 1] == "alerts,sensors"
    assert "-Q" not in own.argv


@pytest.mark.parametrize(("queue", "has_own"), [(None, False), ("routemq.below", False), ("reports", True)])
def test_own_tasks_without_a_queue_of_their_own_get_no_worker(tmp_path: Path, queue: str | None, has_own: bool) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").touch()
    (tmp_path / "mine" / "routes.py").write_text(
        "from routemq import Router\nrouter = Router()\nrouter.on('{device}', 'mine.routes:no', queue='routemq')\n",
        encoding="utf-8",
    )
    (tmp_path / "mine" / "tasks.py").write_text(
        f"from celery import shared_task\n\n@shared_task(queue={queue!r})\ndef work(): ...\n", encoding="utf-8"
    )
    router, recorder = Router(), Recorder()
    router.on("{device}", lambda: None, queue="routemq")
    settings = Settings(ROUTEMQ_TASKS="mine.tasks", ROUTEMQ_ROUTERS="mine.routes")
    WorkerManager(
        router, settings=settings, supervisor=recorder, cwd=tmp_path, ingest_workers=0,  # type: ignore[arg-type]
    ).start_workers()  # fmt: skip
    assert ("worker own-tasks" in {command.name for command in recorder.commands}) == has_own


def test_workers_cannot_be_started_twice() -> None:
    recorder = Recorder()
    workers = manager(recorder)
    workers.start_workers()
    with pytest.raises(RuntimeError, match="restart_worker"):
        workers.start_workers()
    workers.stop_workers()
    workers.start_workers()
    assert len(recorder.commands) == 2


def test_application_without_routes_has_no_workers() -> None:
    recorder = Recorder()
    WorkerManager(Router(), supervisor=recorder).start_workers()  # type: ignore[arg-type]
    assert recorder.commands == []


def test_shared_routes_are_described_with_their_filters() -> None:
    first, second = manager(Recorder()).get_shared_routes_info()
    assert first == {
        "name": "sensors/{device_id}/data",
        "topic": "sensors/{device_id}/data",
        "mqtt_topic": "sensors/+/data",
        "qos": 1,
        "queue": "sensors.data",
        "worker_count": 3,
    }
    assert second["topic"] == "sensors"


def test_group_and_routers_given_in_code_reach_the_workers() -> None:
    recorder = Recorder()
    manager(recorder, group_name="us_east", router_directory="shop.routers", env={"A": "b"}).start_workers()
    env = recorder.commands[0].env
    assert (env["MQTT_GROUP_NAME"], env["ROUTEMQ_ROUTERS"], env["A"]) == ("us_east", "shop.routers", "b")


def test_settings_reach_the_workers_with_their_secrets_and_without_the_defaults() -> None:
    settings = Settings(redis_url=SecretStr("redis://:pw@h/1"), mqtt_tls_enabled=True, worker_count=None)
    given = environment_of(settings)
    assert given["REDIS_URL"] == "redis://:pw@h/1"
    assert given["MQTT_TLS_ENABLED"] == "True"
    assert "WORKER_COUNT" not in given
    assert "MQTT_PORT" not in given


@pytest.mark.parametrize(
    ("hands", "expected"),
    [(1, (1, 1, 1)), (4, (1, 1, 2)), (9, (1, 3, 5)), (10, (1, 3, 6))],
)
def test_hands_are_shared_out_by_weight_and_nobody_goes_without(hands: int, expected: tuple[int, ...]) -> None:
    assert tuple(share_out(hands, {"a": 1, "b": 3, "c": 5}).values()) == expected


def test_no_hands_cannot_be_shared_out() -> None:
    with pytest.raises(ValueError, match="num_workers=0"):
        share_out(0, {"a": 1})


def test_ingest_starts_after_the_workers_and_stops_before_them() -> None:
    recorder = Recorder()
    workers = manager(recorder, ingest_workers=2)
    workers.start_workers()
    assert [command.name for command in recorder.commands] == [
        "worker alerts",
        "worker sensors",
        "ingest 0",
        "ingest 1",
    ]
    assert [worker.name for worker in workers.workers] == [command.name for command in recorder.commands]
    workers.stop_workers()
    assert recorder.stopped == [("ingest 0", "ingest 1"), ("worker alerts", "worker sensors")]
    assert workers.workers == ()


def test_single_workers_are_started_by_queue_and_known_by_name() -> None:
    recorder = Recorder()
    workers = manager(recorder)
    assert workers.start_single_worker("sensors.data", 2).name == "worker sensors.data"
    assert recorder.commands[0].argv[-2:] == ("--concurrency", "2")
    with pytest.raises(RuntimeError, match="restart_worker"):
        workers.start_single_worker("sensors.data")
    with pytest.raises(UnknownQueueError):
        workers.start_single_worker("elsewhere")
    with pytest.raises(UnknownWorkerError, match=r"worker sensors\.data"):
        workers.restart_worker("alerts")


def test_ingest_says_ready_in_the_words_that_the_supervisor_waits_for() -> None:
    assert INGEST_READY == READY


def test_the_public_name_is_there_without_being_loaded_for_every_process() -> None:
    assert routemq.WorkerManager is WorkerManager
    script = "import sys, routemq; print('psutil' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert run.stdout == "False\n"
