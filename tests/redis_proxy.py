"""A proxy before Redis that ends a worker at a chosen command, or falls silent as a dead network does."""

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from routemq.lifecycle.scripts import script_text

Moment = Literal["before", "unanswered", "answered"]
"""Of a command: it has not reached Redis; Redis has run it and the answer is lost; the answer has just arrived."""

SCRIPTS = {
    hashlib.sha1(script_text(name).encode()).hexdigest(): name
    for name in ("fetch", "acknowledge", "retry_later", "bury")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """When to strike.

    Attributes:
        command: Name of a script, or of a Redis command.
        occurrence: The how manieth, from 1; for what takes messages, only what took some counts.
    """

    command: str
    moment: Moment
    occurrence: int = 1


class RedisProxy:
    """Passes everything on until its step comes, then calls `strike` and passes nothing on any more.

    Attributes:
        struck: Set when the step has come.
        addresses: By which Redis knows the connections.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._step: Step | None = None
        self._strike: Callable[[], None] = lambda: None
        self._seen = 0
        self.struck = threading.Event()
        self.addresses: set[str] = set()
        self._muted: set[socket.socket] = set()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def arm(self, step: Step, strike: Callable[[], None]) -> None:
        """Strike when this step comes, counted from now."""
        with self._lock:
            self._step, self._strike, self._seen = step, strike, 0
            self.struck.clear()

    def mute(self) -> None:
        """Let nothing pass on the connections there are; new ones are as before."""
        self._muted.update(self._sockets)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        # What it has just taken is closed, too.
        self._accepting.join()
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                server = socket.create_connection(self._target)
                self._sockets.append(server)
                self.addresses.add(":".join(map(str, server.getsockname())))
                awaited: list[Step] = []
                threading.Thread(target=self._commands, args=(client, server, awaited), daemon=True).start()
                threading.Thread(target=self._answers, args=(client, server, awaited), daemon=True).start()

    def _commands(self, client: socket.socket, server: socket.socket, awaited: list[Step]) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                step = self._step
                for name in _names(data):
                    if step is not None and name == step.command and not self.struck.is_set():
                        if step.moment == "before" and self._counts(step):
                            self._strike_now()
                        else:
                            awaited[:] = [step]
                if self.struck.is_set() and step is not None and step.moment == "before":
                    return
                if client not in self._muted:
                    server.sendall(data)
        self._end(client, server)

    def _answers(self, client: socket.socket, server: socket.socket, awaited: list[Step]) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                due = bool(awaited) and data != b"+OK\r\n" and not data.startswith(b"*4\r\n:") and data != b"*-1\r\n"
                if awaited and due:
                    step = awaited.pop()
                    if not self.struck.is_set() and step is self._step and self._counts(step):
                        if step.moment == "answered":
                            client.sendall(data)
                        self._strike_now()
                        return
                if self.struck.is_set():
                    return
                if client not in self._muted:
                    client.sendall(data)
        self._end(client, server)

    def _counts(self, step: Step) -> bool:
        with self._lock:
            self._seen += 1
            return self._seen == step.occurrence

    def _strike_now(self) -> None:
        self.struck.set()
        self._strike()

    @staticmethod
    def _end(*sockets: socket.socket) -> None:
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _names(data: bytes) -> Iterator[str]:
    """Give the names of the commands, or of the scripts, that start in this part of a stream."""
    for part in data.split(b"\r\n*")[0:]:
        words = part.split(b"\r\n$")
        if len(words) < 2 or not words[0].lstrip(b"*").isdigit():
            continue
        name = words[1].partition(b"\r\n")[2].upper().decode("latin-1")
        if name == "EVALSHA" and len(words) > 2:
            yield SCRIPTS.get(words[2].partition(b"\r\n")[2].decode("latin-1"), "EVALSHA")
        else:
            yield name
