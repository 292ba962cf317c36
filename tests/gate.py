"""A way to Redis that can be closed and opened again, for one program alone."""

import contextlib
import socket
import threading
from collections.abc import Callable

from tests.servers import Redis, free_port


class Gate:
    """Passes connections on to Redis while it is open.

    Args:
        change: What becomes of the bytes that pass; they keep their length.

    Attributes:
        port: Where nobody listens until the gate is opened.
    """

    def __init__(self, store: Redis, *, change: Callable[[bytes], bytes] = bytes) -> None:
        self._target, self._change = (store.host, store.port), change
        self.port = free_port()
        self._listener: socket.socket | None = None
        self._passing: list[socket.socket] = []
        self._lock = threading.Lock()

    def lead_to(self, store: Redis) -> None:
        """Let new connections reach another Redis; those there are stay where they are."""
        self._target = (store.host, store.port)

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Cut all connections, and refuse new ones."""
        with self._lock:
            for each in (self._listener, *self._passing):
                if each is not None:
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)
                    each.close()
            self._listener, self._passing = None, []

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    server = socket.create_connection(self._target)
                except OSError:
                    # Nobody is there: as good as refused.
                    client.close()
                    continue
                with self._lock:
                    if self._listener is not listener:
                        # Closed while it was taken.
                        client.close()
                        server.close()
                        return
                    self._passing += [client, server]
                threading.Thread(target=self._pass, args=(client, server), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(1 << 16):
                target.sendall(self._change(data))
