"""Servers and unique names for the tests."""

import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest
from celery import _state

from tests.servers import (
    BROKERS,
    STORES,
    EmbeddedBroker,
    Mosquitto,
    MqttBroker,
    Redis,
    Rumqttd,
    Server,
    Stack,
    TlsFiles,
    Valkey,
)
from tests.systemd import Systemd, listening

S = TypeVar("S", bound=Server)


@pytest.fixture(autouse=True)
def _nothing_left_to_celery() -> Iterator[None]:
    """Leave nothing of a test in what Celery knows for the whole process.

    A connection that closes keeps the leases of what it has in hand; a shared task is every later app's.
    """
    tasks = _state._on_app_finalizers
    before = set(tasks)
    yield
    tasks.intersection_update({each for each in tasks if each in before or each.__module__ == "celery.app.builtins"})
    state = sys.modules.get("celery.worker.state")
    if state is not None:
        for found in (state.requests, state.active_requests, state.reserved_requests, state.scheduled_requests):
            found.clear()


# How long an example takes says how busy the machine is, with the other tests if with nothing else.
hypothesis.settings.register_profile(
    "busy machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy machine")

# Under `nohup`, or behind an `&`, these are ignored, and what a test starts inherits that: nobody could interrupt it.
for _number, _handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal what needs servers to all processes in whole files, and put what does not at the end of each one's part.

    xdist cuts the tests into equal parts, in their order. Whoever has done its own takes from the end of another's, but
    never the last two: where these are long, all wait for them.
    """
    parts: list[list[pytest.Item]] = [[] for _ in range(getattr(config, "workerinput", {}).get("workercount", 1))]
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    long = [path for path in files if path.parent.name in ("end_to_end", "integration")]
    for item in (item for path in long for item in files[path]):
        # A machine that stops for seconds is not what they are about.
        item.add_marker(pytest.mark.flaky(reruns=1))
    for path in sorted(long, key=lambda path: (path.parent.name, -len(files[path]))):
        min(parts, key=len).extend(files[path])
    for item in (item for path in files if path not in long for item in files[path]):
        min(parts, key=len).append(item)
    items[:] = [item for part in parts for item in part]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show how each test failed that had a second try: whatever became of that, it has told of a defect."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"the first try of {report.nodeid}")
        terminalreporter.line(report.longreprtext)


def _serving(server: S) -> Iterator[S]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def mosquitto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """Mosquitto, shared by all tests: never stop it, and keep to your own topics."""
    yield from _serving(Mosquitto(directory=tmp_path_factory.mktemp("mosquitto"), persistence=False))


@pytest.fixture(scope="session")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """The development broker, shared by all tests: never stop it, and keep to your own topics."""
    yield from _serving(EmbeddedBroker(directory=tmp_path_factory.mktemp("broker")))


@pytest.fixture
def rumqttd(tmp_path: Path) -> Iterator[Rumqttd]:
    """A broker that is neither ours nor Mosquitto, of the test's own."""
    yield from _serving(Rumqttd(directory=tmp_path / "rumqttd"))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """redis-server, shared by all tests: never stop or flush it, and keep to your own keys."""
    yield from _serving(Redis(directory=tmp_path_factory.mktemp("redis")))


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """The embedded Valkey, shared by all tests: never stop or flush it, and keep to your own keys."""
    yield from _serving(Valkey(directory=tmp_path_factory.mktemp("valkey")))


def _shared(request: pytest.FixtureRequest, name: str) -> Any:
    return request.getfixturevalue(
        {
            "mosquitto": "mosquitto_server",
            "embedded": "embedded_broker",
            "redis": "redis_server",
            "valkey": "valkey_server",
        }[name]
    )


@pytest.fixture(params=list(BROKERS))
def mqtt_broker(request: pytest.FixtureRequest) -> MqttBroker:
    """Each MQTT broker in turn, shared."""
    broker: MqttBroker = _shared(request, request.param)
    return broker


@pytest.fixture(params=list(STORES))
def redis_store(request: pytest.FixtureRequest) -> Redis:
    """Each Redis in turn, shared."""
    store: Redis = _shared(request, request.param)
    return store


@pytest.fixture(params=[("mosquitto", "redis"), ("embedded", "valkey")], ids="+".join)
def stack(request: pytest.FixtureRequest) -> Stack:
    """The servers of a production host, then those of `routemq dev`; shared."""
    broker, store = request.param
    return Stack(name=f"{broker}+{store}", broker=_shared(request, broker), store=_shared(request, store))


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    """Listen as systemd does to a service."""
    with listening(tmp_path) as systemd:
        yield systemd


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Callable[..., MqttBroker]]:
    """Make a started broker of the test's own: `own_broker("mosquitto", persistence=True)`; it may be killed."""
    made: list[MqttBroker] = []

    def make(kind: str = "mosquitto", **options: Any) -> MqttBroker:
        broker = BROKERS[kind](directory=tmp_path / f"broker-{len(made)}", **options)
        made.append(broker)
        broker.start()
        return broker

    yield make
    for broker in made:
        broker.stop()


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[Callable[..., Redis]]:
    """Make a started Redis of the test's own: `own_store("redis", append_only=True)`; it may be killed."""
    made: list[Redis] = []

    def make(kind: str = "redis", **options: Any) -> Redis:
        store = STORES[kind](directory=tmp_path / f"store-{len(made)}", **options)
        made.append(store)
        store.start()
        return store

    yield make
    for store in made:
        store.stop()


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A throwaway authority with a server and a client certificate."""
    return TlsFiles.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def topic_prefix() -> str:
    """A first topic level that no other test uses."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def key_prefix() -> str:
    """A prefix for Redis keys that no other test uses."""
    return f"k{uuid.uuid4().hex[:10]}:"


@pytest.fixture
def group_name() -> str:
    """A shared subscription group, and so a family of client ids, that no other test uses."""
    return f"g{uuid.uuid4().hex[:10]}"
