"""TLS to Redis: every role verifies alike, and says in words what is not right."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import kombu
import pytest
import redis
from routemq_tasks.configuration import celery_configuration
from routemq_transport.amqp import TRANSPORTS

from routemq import Router
from routemq.connections import check_redis, connect_redis
from routemq.errors import ConfigurationError
from routemq.refusals import explain
from routemq.settings import Settings
from tests.ingest import CONTROLLER, ingesting, settings_for, wait_for_payloads
from tests.processes import PATIENCE_S, running, wait_until
from tests.servers import REPOSITORY, Mosquitto, Redis, Stack, TlsFiles
from tests.workers import Bench


def _settings(url: str, **files: object) -> Settings:
    return Settings(_env_file=None, redis_url=url, **files)  # type: ignore[call-arg,arg-type]


def _problems(settings: Settings) -> Iterator[str | None]:
    """Give what each way to Redis says: that of ingest and the commands, and that of the workers and Flower."""
    for connect in (lambda: check_redis(connect_redis(settings)), lambda: _connect_kombu(settings)):
        try:
            connect()
        except redis.RedisError as exc:
            yield explain(exc)
        else:
            yield None


def _connect_kombu(settings: Settings) -> None:
    configuration = celery_configuration(settings, [])
    transport = configuration.get("broker_transport") or TRANSPORTS["rediss" if settings.redis.tls else "redis"]
    ssl = configuration.get("broker_use_ssl")
    with kombu.Connection(configuration["broker_url"], ssl=ssl, transport=transport) as connection:
        connection.connect()


@pytest.mark.parametrize("transport", ["routemq", "stock"])
def test_a_certificate_is_verified_by_all_unless_it_is_said(
    own_store: Callable[..., Redis], tls_files: TlsFiles, tmp_path: Path, transport: str
) -> None:
    foreign = TlsFiles.make(tmp_path / "foreign", "redis.example")
    good, other_name = own_store(tls=tls_files), own_store(tls=foreign)
    more = {"ROUTEMQ_TRANSPORT": transport}
    untrusted = "the certificate of redis is not trusted: "

    assert [*_problems(_settings(good.url, redis_tls_ca_certs=tls_files.ca_certs, **more))] == [None, None]
    for problem in _problems(_settings(good.url, **more)):
        assert problem is not None
        assert problem.startswith(f"{untrusted}self-signed certificate in certificate chain")
    for problem in _problems(_settings(other_name.url, redis_tls_ca_certs=foreign.ca_certs, **more)):
        assert problem is not None
        assert problem.startswith(f"{untrusted}IP address mismatch")
    assert [*_problems(_settings(other_name.url, redis_tls_insecure=True, **more))] == [None, None]


def test_a_client_certificate_is_shown(own_store: Callable[..., Redis], tls_files: TlsFiles) -> None:
    store = own_store(tls=tls_files, require_certificate=True)
    authority = {"redis_tls_ca_certs": tls_files.ca_certs}
    own = {"redis_tls_certfile": tls_files.client_cert, "redis_tls_keyfile": tls_files.client_key}
    assert all(_problems(_settings(store.url, **authority)))
    assert [*_problems(_settings(store.url, **authority, **own))] == [None, None]


def test_tls_where_there_is_none(redis_server: Redis) -> None:
    url = redis_server.url.replace("redis://", "rediss://")
    assert all("speaks no TLS" in str(problem) for problem in _problems(_settings(url)))


def test_no_tls_where_there_is_some(own_store: Callable[..., Redis], tls_files: TlsFiles, key_prefix: str) -> None:
    store = own_store(tls=tls_files)
    url = store.url.replace("rediss://", "redis://")
    hint = "does it speak TLS? Then REDIS_URL begins with rediss://"
    with_password = url.replace("redis://", "redis://:secret@")
    for settings in (_settings(url), _settings(with_password), _settings(url, ROUTEMQ_TRANSPORT="stock")):
        assert [hint in str(problem) or problem for problem in _problems(settings)] == [True, True]
    env = Bench(store=store, key_prefix=key_prefix).environment() | {"REDIS_URL": url}
    with running(["routemq", "dlq", "stats"], cwd=REPOSITORY, env=env) as command:
        assert command.wait() == 1
        assert hint in command.output()
    with Bench(store=store, key_prefix=key_prefix).worker("-P", "solo", env=env, ready=False) as worker:
        worker.wait_for_output(hint)
        assert worker.terminate() == 0


def test_tls_where_somebody_hangs_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_hang_up, args=(listener,), daemon=True).start()
        for problem in _problems(_settings(f"rediss://127.0.0.1:{listener.getsockname()[1]}")):
            assert problem is not None
            assert "hangs up when it hears TLS; does it speak TLS?" in problem


def _hang_up(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)


@pytest.mark.parametrize("field", ["redis_tls_ca_certs", "redis_tls_certfile"])
def test_a_file_without_a_certificate_is_refused_before_anything_is_asked(tmp_path: Path, field: str) -> None:
    path = tmp_path / "x.pem"
    path.write_text("no certificate", "utf-8")
    with pytest.raises(ConfigurationError, match=f"^{field.upper()}="):
        connect_redis(_settings("rediss://nowhere.example", **{field: path}))


def test_messages_come_through(
    mosquitto_server: Mosquitto,
    own_store: Callable[..., Redis],
    tls_files: TlsFiles,
    key_prefix: str,
    topic_prefix: str,
    group_name: str,
) -> None:
    store = own_store(tls=tls_files)
    bench = Bench(store=store, key_prefix=key_prefix)
    stack = Stack(name="tls", broker=mosquitto_server, store=store)
    settings = settings_for(
        stack, key_prefix=key_prefix, group=group_name, redis_tls_ca_certs=tls_files.ca_certs,
    )  # fmt: skip
    router = Router()
    router.on(f"{topic_prefix}/a", CONTROLLER, queue="taken")
    env = bench.environment() | {"REDIS_TLS_CA_CERTS": str(tls_files.ca_certs)}
    with ingesting(settings, router):
        mosquitto_server.publish(f"{topic_prefix}/a", "1")
        wait_for_payloads(store, key_prefix, "taken", 1)
    bench.put("slow/async", "0")
    with bench.worker("-Q", "slow", "-P", "prefork", "-c", "1", "-E", "-n", "one@here", env=env) as worker:
        wait_until(lambda: bench.totals()["slow/async"].done == 1, ignoring=(KeyError,), message="it is done")
        inspect = ["celery", "-A", "routemq", "inspect", "ping", "-d", "one@here", "--timeout", f"{PATIENCE_S:g}"]
        for command in (inspect, ["routemq", "dlq", "stats"]):
            with running(command, cwd=REPOSITORY, env=env, fork=True) as process:
                assert process.wait() == 0
        assert worker.terminate() == 0
    assert threading.active_count() < 20

    with bench.worker("-Q", "slow", "-P", "threads", ready=False) as worker:
        worker.wait_for_output("the certificate of redis is not trusted")
        assert worker.terminate() == 0
