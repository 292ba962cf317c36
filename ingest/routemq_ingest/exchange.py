"""One turn of the sockets: read and write what they allow, or wait a moment or for the bell."""

import contextlib
import select
import socket
from collections.abc import Iterable

from routemq_ingest.batch import OpenBatch
from routemq_ingest.handover import Handover
from routemq_ingest.upstream.connection import BrokerConnection


class Bell:
    """How another thread, or a signal handler, ends the sleep of the loop: `poll` finds it readable.

    `wake` takes no lock, so that it may interrupt anything, itself too.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """The socket's number."""
        return self._reader.fileno()

    def wake(self) -> None:
        """End the sleep, or the next one."""
        # A full buffer wakes as well; a closed one has nobody to wake.
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def clear(self) -> None:
        """Be ready for the next time."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)

    def close(self) -> None:
        """Wake nobody any more."""
        self._reader.close()
        self._writer.close()


class Exchange:
    """Waits for all connections of a process at once, and for the answer of Redis that the loop itself awaits.

    Nothing is read that the batch has no room for, and nothing while the handover rests.
    """

    def __init__(self, batch: OpenBatch, handover: Handover, bell: Bell) -> None:
        self._batch, self._handover, self._bell = batch, handover, bell

    def turn(self, connections: Iterable[tuple[BrokerConnection, bool]], *, idle_s: float) -> None:
        """Exchange what there is; when that is nothing, wait so long, or until somebody wakes this thread.

        Args:
            connections: Those that are open, and whether each may be read.
        """
        batch = self._batch
        poll = select.poll()  # select() knows no descriptor above 1023
        poll.register(self._bell, select.POLLIN)
        answer = self._handover.awaits
        if answer is not None and answer >= 0:
            poll.register(answer, select.POLLIN)
        numbers: dict[int, BrokerConnection] = {}
        reading: list[BrokerConnection] = []
        has_room = batch.has_room and not self._handover.rests
        for connection, may_read in connections:
            events = select.POLLOUT if connection.want_write() else 0
            if may_read and has_room:
                reading.append(connection)
                events |= select.POLLIN
            if events:
                numbers[connection.fileno()] = connection
                poll.register(connection, events)
        has_more = any(connection.has_more for connection in reading)
        ready = dict(poll.poll(0 if has_more else 1000 * idle_s))
        if self._bell.fileno() in ready:
            self._bell.clear()
        if answer is not None and (answer < 0 or ready.get(answer)):
            self._handover.read()
        for number, connection in numbers.items():
            if ready.get(number, 0) & ~select.POLLIN:
                connection.loop_write()
        batch.stamp()
        for connection in reading:
            if batch.has_room and (connection.has_more or ready.get(connection.fileno())):
                connection.read()
