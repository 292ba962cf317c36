"""Which workers there are, and with how many hands. That they run is shown by the tests of `routemq dev`."""

import pytest
from pydantic import SecretStr

from routemq.routing import Router
from routemq.settings import Settings
from routemq.supervision.processes import Command
from routemq.supervision.worker_manager import WorkerManager, environment_of, share_out, worker_queues


class Recorder:
    """A supervisor that only remembers what it was to start."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.states = ()

    def start(self, *commands: Command) -> None:
        self.commands += commands

    def stop(self, *_names: str) -> None:
        self.commands.clear()


def application() -> Router:
    router = Router()
    router.on("alerts/{device_id}", "app:alert")
    router.on("sensors/{device_id}/data", "app:data", shared=True, worker_count=3)
    router.on("sensors", "app:all", shared=True, worker_count=2)
    return router


def manager(recorder: Recorder, **options: object) -> WorkerManager:
    return WorkerManager(application(), supervisor=recorder, **options)  # type: ignore[arg-type]


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


def test_workers_cannot_be_started_twice() -> None:
    recorder = Recorder()
    workers = manager(recorder)
    workers.start_workers()
    with pytest.raises(RuntimeError, match="restart"):
        workers.start_workers()
    workers.stop()
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
