"""What lies between a client and a server: slow, or cut."""

import contextlib
import socket
import threading
import time
from typing import Self

from tests.servers import HOST

_PART_BYTES = 4096


class Link:
    """Passes on what clients and server send.

    Args:
        bytes_per_s: How much each client may send; what the server answers always passes at once.
    """

    def __init__(self, port: int, *, bytes_per_s: int | None = None) -> None:
        self._behind, self._bytes_per_s = port, bytes_per_s
        self._listener = socket.create_server((HOST, 0))
        if bytes_per_s is not None:
            # What the kernel takes at once is not slow.
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PART_BYTES)
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._lock, self._is_cut = threading.Lock(), False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        """End all connections, and refuse new ones."""
        with self._lock:
            self._is_cut = True
            for each in (self._listener, *self._sockets):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((HOST, self._behind))
                with self._lock:
                    if self._is_cut:
                        client.close()
                        server.close()
                        return
                    self._sockets += [client, server]
                threading.Thread(target=self._pump, args=(client, server, self._bytes_per_s), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, None), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket, bytes_per_s: int | None) -> None:
        with source, contextlib.suppress(OSError):
            while data := source.recv(_PART_BYTES):
                target.sendall(data)
                if bytes_per_s is not None:
                    time.sleep(len(data) / bytes_per_s)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
