"""Ingest under test: in a thread or as a process, what it queued, and MQTT brokers that misbehave."""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import orjson
from routemq_ingest.worker import IngestWorker

from routemq import Router
from routemq.envelope import TaskMessage
from routemq.mqtt_wire import binary, packet, variable
from routemq.queues import Keys
from routemq.settings import Settings
from tests.mqtt_peer import read_packet
from tests.processes import PATIENCE_S, RunningProcess, running, wait_until
from tests.servers import HOST, Redis, Stack

CONTROLLER = "nowhere:Controller.method"
"""Ingest imports no controllers; this one is not there."""


def settings_for(stack: Stack, *, key_prefix: str, group: str, **more: Any) -> Settings:
    """Return settings that use a stack and nothing of this machine's environment; shared routes are with `$share`."""
    fields: dict[str, Any] = {"mqtt_port": stack.broker.port, "mqtt_broker": HOST, "redis_url": stack.store.url}
    fields |= {"mqtt_share": "always"} | more
    return Settings(_env_file=None, mqtt_group_name=group, ROUTEMQ_KEY_PREFIX=key_prefix, **fields)  # type: ignore[call-arg]


@contextlib.contextmanager
def ingesting(settings: Settings, router: Router, *, index: int = 0, ready: bool = True) -> Iterator[IngestWorker]:
    """Run an ingest worker in a thread, ready when the block begins; what it raised is raised at the end."""
    worker = IngestWorker(settings, router, index=index)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            worker.run()
        # The test's thread raises it.
        except BaseException as exc:  # noqa: BLE001
            failures.append(exc)

    thread = threading.Thread(target=run, name="ingest")
    thread.start()
    try:
        if ready:
            wait_until(lambda: worker.ready or failures, message="ingest is ready")
        if failures:
            raise failures[0]
        yield worker
    finally:
        worker.stop()
        thread.join(PATIENCE_S)
    if failures:
        raise failures[0]


@contextlib.contextmanager
def ingest_process(
    folder: Path,
    routes: str,
    environment: Mapping[str, str],
    *options: str,
    ready: bool = True,
    program: Sequence[str] = ("routemq", "ingest"),
) -> Iterator[RunningProcess]:
    """Run `routemq ingest` for an application with these lines of `router.on(…)`."""
    package = folder / "app" / "routers"
    package.mkdir(parents=True, exist_ok=True)
    for part in (package.parent, package):
        (part / "__init__.py").touch()
    (package / "routes.py").write_text(f"from routemq import Router\n\nrouter = Router()\n{routes}\n", encoding="utf-8")
    with running([*program, *options], cwd=folder, env=environment, fork=True) as process:
        if ready:
            process.wait_for_output("ingest is ready")
        yield process


def queued(store: Redis, key_prefix: str, queue: str) -> list[TaskMessage]:
    """Return what is on a queue, the next to run first."""
    with store.client() as client:
        return [TaskMessage.decode(item) for item in reversed(client.lrange(Keys(key_prefix).queue(queue), 0, -1))]


def payloads(store: Redis, key_prefix: str, queue: str) -> list[bytes]:
    """Return the payloads on a queue, the next to run first."""
    return [message.envelope.payload for message in queued(store, key_prefix, queue)]


def wait_for_payloads(store: Redis, key_prefix: str, queue: str, count: int) -> list[bytes]:
    """Wait until so many messages are on a queue; return their payloads."""
    with store.client() as client:
        wait_until(
            lambda: client.llen(Keys(key_prefix).queue(queue)) >= count,
            message=f"{count} messages are on {queue}",
        )
    return payloads(store, key_prefix, queue)


def numbered(count: int, start: int = 0) -> list[str]:
    """Return distinct payloads."""
    return [orjson.dumps({"number": number}).decode() for number in range(start, start + count)]


class FakeBroker:
    """Speaks just enough MQTT 5 to answer as a test wants, and to send what no broker should.

    Attributes:
        codes: Code that a SUBSCRIBE is answered with, by a part of the topic filter; 1 for the others.
        leaving: Code that an UNSUBSCRIBE is answered with.
        before_pong: What is sent before a PING is answered, after so many seconds.
        connack: The whole CONNACK.
        received: First byte and body of every packet.
        identifiers: Topic filter → subscription identifier.
        answer: What a PUBLISH is answered, given its topic, its QoS and its packet identifier; None hangs up.
    """

    def __init__(
        self,
        *,
        codes: Mapping[str, int] | None = None,
        connack: bytes = b"\x20\x03\0\0\0",
        answer: Callable[[str, int, bytes], bytes | None] = lambda _topic, _qos, mid: packet(0x40, mid) if mid else b"",
    ) -> None:
        self.codes = dict(codes or {})
        self.leaving = 0
        self.before_pong: list[tuple[float, bytes]] = []
        self.connack = connack
        self.answer = answer
        self.received: list[tuple[int, bytes]] = []
        self.identifiers: dict[str, int] = {}
        self.connections: list[socket.socket] = []
        self.shared_connection: socket.socket | None = None
        fake = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                fake.connections.append(self.request)
                with contextlib.suppress(OSError):
                    fake._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server((HOST, 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="fake broker", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        self._server.shutdown()
        self._server.server_close()

    @property
    def pubacks(self) -> list[int]:
        """Packet identifiers that were acknowledged, in order."""
        return [int.from_bytes(body[:2], "big") for first, body in list(self.received) if first == 0x40]

    @property
    def left(self) -> list[str]:
        """Topic filters of every UNSUBSCRIBE, in order."""
        return [body[5:].decode() for first, body in list(self.received) if first == 0xA2]

    @property
    def topics(self) -> list[str]:
        """Topics that were published to, in order."""
        published = [body for first, body in list(self.received) if first & 0xF0 == 0x30]
        return [body[2 : 2 + int.from_bytes(body[:2], "big")].decode() for body in published]

    @property
    def connected(self) -> int:
        """How many CONNECTs there were."""
        return sum(first == 0x10 for first, _ in list(self.received))

    def hang_up(self) -> None:
        """Close every connection without a word."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def send(self, data: bytes) -> None:
        """Write to the connection that has shared subscriptions."""
        if self.shared_connection is None:
            raise RuntimeError("nobody has subscribed")
        self.shared_connection.sendall(data)

    def publish(self, topic: bytes, payload: bytes, *, mid: int, identifiers: tuple[int, ...]) -> None:
        """Send a PUBLISH with QoS 1."""
        self.send(publish_packet(topic, payload, mid=mid, identifiers=identifiers))

    def _serve(self, connection: socket.socket) -> None:
        while (found := read_packet(connection)) is not None:
            first, body = found
            self.received.append(found)
            if first == 0x10:
                connection.sendall(self.connack)
                if self.connack[3]:
                    return
            elif first == 0x82:
                self._grant(connection, body)
            elif first & 0xF0 == 0x30:
                end, qos = 2 + int.from_bytes(body[:2], "big"), first >> 1 & 3
                answer = self.answer(body[2:end].decode(), qos, body[end : end + 2] if qos else b"")
                if answer is None:
                    return
                connection.sendall(answer)
                if answer[:1] == b"\xe0":
                    _close_gently(connection)
                    return
            elif first == 0xA2:
                connection.sendall(packet(0xB0, body[:2] + b"\0" + bytes([self.leaving])))
            elif first == 0xC0:
                if self.before_pong and connection is self.shared_connection:
                    after_s, data = self.before_pong.pop(0)
                    time.sleep(after_s)
                    connection.sendall(data)
                connection.sendall(b"\xd0\0")

    def _grant(self, connection: socket.socket, body: bytes) -> None:
        size = body[2]
        identifier, shift = 0, 0
        for byte in body[4 : 3 + size]:
            identifier |= (byte & 127) << shift
            shift += 7
        topic_filter = body[5 + size : -1].decode()
        self.identifiers[topic_filter] = identifier
        if topic_filter.startswith("$share/"):
            self.shared_connection = connection
        code = next((code for part, code in self.codes.items() if part in topic_filter), 1)
        connection.sendall(packet(0x90, body[:2] + b"\0" + bytes([code])))


class OldBroker:
    """A broker in front of another, which refuses MQTT 5 as old brokers do, and passes all else on.

    Attributes:
        refusal: What a CONNECT of MQTT 5 is answered with, before the connection is closed; None takes it.
        silent: Do not even close it.
        deserted: Hang up on every CONNECT, as a load balancer does that has no broker behind it.
        literal: Take `$share` for a level like any other, as brokers do that have no shared subscriptions.
        refused: How often it refused.
        versions: Of the CONNECTs that it passed on.
    """

    def __init__(self, port: int, *, refusal: bytes | None, silent: bool = False) -> None:
        self.refusal, self.silent, self.deserted, self.refused = refusal, silent, False, 0
        self.literal = False
        self.versions: list[int] = []
        self._behind = port
        self._clients: list[socket.socket] = []
        old = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    old._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server((HOST, 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="old broker", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def hang_up(self) -> None:
        """Close every connection that was passed on."""
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _serve(self, client: socket.socket) -> None:
        first = read_packet(client)
        if first is None:
            return
        version = first[1][6]
        if self.deserted or (version == 5 and self.refusal is not None):
            self.refused += 1
            client.sendall(b"" if self.deserted or self.refusal is None else self.refusal)
            while self.silent and client.recv(65_536):
                pass
            return
        self.versions.append(version)
        self._clients.append(client)
        with socket.create_connection((HOST, self._behind)) as broker:
            broker.sendall(packet(*first))
            back = threading.Thread(target=_pump, args=(broker, client), daemon=True)
            back.start()
            _pump(client, broker, change=lambda data: data.replace(b"$share/", b"$level/") if self.literal else data)
            back.join(5)


def publish_packet(topic: bytes, payload: bytes, *, mid: int, identifiers: tuple[int, ...]) -> bytes:
    """Return a PUBLISH of MQTT 5 with QoS 1."""
    listed = b"".join(b"\x0b" + variable(identifier) for identifier in identifiers)
    head = binary(topic) + mid.to_bytes(2, "big")
    return packet(0x32, head + variable(len(listed)) + listed + payload)


def _close_gently(connection: socket.socket) -> None:
    """Close so that what was sent arrives: with something left unread, the other side would get a reset instead."""
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65_536):
        pass


def _pump(source: socket.socket, target: socket.socket, *, change: Callable[[bytes], bytes] = bytes) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(change(data))
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
