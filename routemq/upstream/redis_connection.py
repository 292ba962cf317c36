"""Connections to Redis that do not outlive the use of what is at their other end."""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import redis
from redis.driver_info import DriverInfo

from routemq.refusals import LEAVE, RefusedError, code_of, said

_DRIVER = DriverInfo(lib_version=redis.__version__)
"""Without it redis-py reads the metadata of its package for each connection, to tell Redis its version."""

_SILENT_S = 3.0
"""Nobody tries a server again for so long that has just not answered; then one does, and the others wait for it."""

_TRY_S = 6.0
_PATIENT_S = 3.0
"""Who waits for an answer for a shorter time than this says nothing of the server by giving up."""

_LONGEST_LOOKUP_S = 5.0


class _Lookup:
    """One question to the name server, in a thread of its own: there it takes its time, and nothing breaks it off."""

    def __init__(self, host: str, port: int) -> None:
        self._addresses: list[str] = []
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._ask, args=(host, port), name="name lookup", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as exc:
            # The system has no thread at this moment: an error of a connection, after which one tries again.
            self._error = OSError(str(exc))

    @property
    def is_open(self) -> bool:
        """Whether it may still be answered; not in a child that was forked meanwhile."""
        return self._thread.is_alive()

    def addresses(self, *, timeout_s: float) -> list[str]:
        """Wait for the answer.

        Raises:
            OSError: There is no such name.
            TimeoutError: There is no answer.
        """
        if self._error is None:
            self._thread.join(timeout_s)
        if self._error is not None:
            raise self._error
        if not self._addresses:
            raise TimeoutError
        return self._addresses

    def _ask(self, host: str, port: int) -> None:
        try:
            found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            self._error = exc if isinstance(exc, OSError) else OSError(str(exc))
        else:
            self._addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))


class _Place:
    """What this process knows of a host and port; any thread may use it, and a lost race is another try.

    Attributes:
        has_answered: Redis was ever heard there, so that what it speaks is beyond doubt.
    """

    def __init__(self) -> None:
        self.left_at = 0.0
        self.has_answered = False
        self._left_for: type[redis.RedisError] = redis.ConnectionError
        self._left_with = "not left"
        self._silent_until: float | None = None
        self._lookup: _Lookup | None = None

    def leave(self, why: redis.RedisError) -> None:
        """Use none of the connections there are."""
        # Not the exception itself, which would keep alive the frames it has passed through.
        self.left_at, self._left_for, self._left_with = time.monotonic(), type(why), str(why)

    def why_left(self) -> redis.RedisError:
        """Return what made them useless, as another connection found it."""
        return self._left_for(self._left_with)

    def was_silent(self, why: redis.RedisError) -> None:
        """Nothing was answered in time."""
        self.leave(why)
        self._silent_until = time.monotonic() + _SILENT_S

    def spoke(self) -> None:
        """Something was answered, and be it by the network that there is nobody."""
        self._silent_until = None

    @property
    def is_silent(self) -> bool:
        """Whether to leave it alone; False lets the one who asks try."""
        if self._silent_until is None:
            return False
        now = time.monotonic()
        if now < self._silent_until:
            return True
        self._silent_until = now + _TRY_S
        return False

    def lookup(self, host: str, port: int) -> _Lookup:
        """Return a question for its addresses; one that was asked lately and has no answer yet stands for all."""
        asked = self._lookup
        if asked is None or not asked.is_open:
            asked = self._lookup = _Lookup(host, port)
        return asked


class _QuicklyFound(redis.Connection):
    """A connection for which a name server that is slow is a server that does not answer.

    Whoever connects, be it a worker's main thread, is held up no longer than by a slow Redis.
    """

    _place: _Place
    _give_up: Callable[..., None]

    def _connect(self) -> Any:
        name, error = self.host, OSError("no address")
        try:
            for address in self._addresses(name):
                self.host = address
                try:
                    return super()._connect()  # type: ignore[no-untyped-call]
                except OSError as exc:
                    error = exc
        finally:
            self.host = name
        raise error

    def _addresses(self, host: str) -> list[str]:
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        timeout_s = min(self.socket_connect_timeout or _LONGEST_LOOKUP_S, _LONGEST_LOOKUP_S)
        try:
            return self._place.lookup(host, self.port).addresses(timeout_s=timeout_s)
        except TimeoutError:
            why = redis.TimeoutError(f"no name server has answered within {timeout_s:g} s where {host} is")
            self._give_up(why)
            raise why from None


class _LeavingConnection(redis.Connection):
    """A connection that is closed when its server takes no commands or does not answer, and with it all to that place.

    A primary that was demoted keeps its connections and refuses every write, and one that is cut off keeps them too:
    who is in its place is found by connecting again. As all users of Redis here share this, kombu too, one learns it
    for all; what half a dozen commands in a row would wait for, one after another, is waited for once.
    """

    _places: ClassVar[dict[tuple[str, int], _Place]] = {}
    _speaks_tls = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"driver_info": _DRIVER, **options})  # type: ignore[no-untyped-call]
        self._connected_at = 0.0
        self._is_reached = False
        self._place = self._places.setdefault((self.host, self.port), _Place())

    def connect(self) -> None:
        """Connect anew, if this is a connection to leave."""
        if self._is_left:
            self.disconnect()  # type: ignore[no-untyped-call]
        super().connect()  # type: ignore[no-untyped-call]

    def connect_check_health(self, *args: Any, **options: Any) -> None:
        """Connect; where somebody hangs up who has never said a word, say what that may mean."""
        self._is_reached = False
        try:
            super().connect_check_health(*args, **options)
        except redis.ConnectionError as exc:
            if not self._is_reached or self._place.has_answered or code_of(exc) or self._speaks_tls:
                raise
            raise redis.ConnectionError(
                f"{self.host}:{self.port} is there, and hangs up without an answer; does it speak TLS? Then REDIS_URL "
                "begins with rediss://"
            ) from exc

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send, unless this is a connection to leave: then it is closed, and the caller's to connect again."""
        if self._is_left:
            self.disconnect()  # type: ignore[no-untyped-call]
            raise self._place.why_left()
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read an answer; one that says that the server is of no use is a lost connection."""
        try:
            answer = super().read_response(*args, **options)
        except redis.TimeoutError as exc:
            self._give_up(exc)
            raise
        except redis.RedisError as exc:
            code = code_of(exc)
            self._place.has_answered |= bool(code)
            if code not in LEAVE:
                raise
            self.disconnect()  # type: ignore[no-untyped-call]
            text = said(exc)
            refused = RefusedError(text if text.startswith(code) else f"{code} {text}")
            self._place.leave(refused)
            raise refused from exc
        self._place.spoke()
        self._place.has_answered = True
        return answer

    @property
    def is_usable(self) -> bool:
        """Whether it is connected, and to be used; what asks then waits for no name server and for no handshake."""
        return self.fileno() >= 0 and not self._is_left

    def fileno(self) -> int:
        """The socket's number, for `poll`; -1 without one."""
        sock: Any = self._sock
        return -1 if sock is None else int(sock.fileno())

    @property
    def _is_left(self) -> bool:
        return self._connected_at < self._place.left_at and self._sock is not None

    def _connect(self) -> Any:
        if self._place.is_silent:
            raise redis.TimeoutError(f"{self.host}:{self.port} is left alone for a moment: {self._place.why_left()}")
        # Before, not after: meanwhile it may be left.
        self._connected_at = time.monotonic()
        try:
            sock = super()._connect()  # type: ignore[no-untyped-call]
        except TimeoutError:
            self._give_up(redis.TimeoutError("Timeout connecting to server"))
            raise
        except OSError:
            self._place.spoke()
            raise
        self._is_reached = True
        return sock

    def _give_up(self, why: redis.RedisError) -> None:
        if (self.socket_timeout or _PATIENT_S) >= _PATIENT_S:
            self._place.was_silent(why)


class RedisConnection(_LeavingConnection, _QuicklyFound):
    """What all users of Redis here share."""


class RedisSSLConnection(_LeavingConnection, redis.SSLConnection, _QuicklyFound):
    """The same over TLS."""

    _speaks_tls = True

    def _wrap_socket_with_ssl(self, sock: Any) -> Any:
        try:
            return super()._wrap_socket_with_ssl(sock)  # type: ignore[no-untyped-call]
        except TimeoutError as exc:
            # A Redis without TLS takes what it hears for the beginning of a command.
            raise redis.TimeoutError(
                f"{self.host}:{self.port} is there, but speaks no TLS; without TLS, REDIS_URL begins with redis://"
            ) from exc
        except (ConnectionError, ssl.SSLEOFError) as exc:
            raise redis.ConnectionError(
                f"{self.host}:{self.port} is there, and hangs up when it hears TLS; does it speak TLS? Without it, "
                "REDIS_URL begins with redis://"
            ) from exc
