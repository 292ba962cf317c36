"""Connections to Redis that do not outlive the use of what is at their other end."""

import time
from typing import Any, ClassVar

import redis

from routemq.refusals import LEAVE, RefusedError, code_of, said

_SILENT_S = 3.0
"""Nobody tries a server again for so long that has just not answered; then one does, and the others wait for it."""

_TRY_S = 6.0
_PATIENT_S = 3.0
"""Who waits for an answer for a shorter time than this says nothing of the server by giving up."""


class _Place:
    """What this process knows of a host and port; any thread may use it, and a lost race is another try."""

    def __init__(self) -> None:
        self.left_at = 0.0
        self._left_for: type[redis.RedisError] = redis.ConnectionError
        self._left_with = "not left"
        self._silent_until: float | None = None

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


class RedisConnection(redis.Connection):
    """A connection that is closed when its server takes no commands or does not answer, and with it all to that place.

    A primary that was demoted keeps its connections and refuses every write, and one that is cut off keeps them too:
    who is in its place is found by connecting again. As all users of Redis here share this, kombu too, one learns it
    for all; what half a dozen commands in a row would wait for, one after another, is waited for once.
    """

    _places: ClassVar[dict[tuple[str, int], _Place]] = {}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        self._connected_at = 0.0
        self._place = self._places.setdefault((self.host, self.port), _Place())

    def connect(self) -> None:
        """Connect anew, if this is a connection to leave."""
        if self._is_left:
            self.disconnect()  # type: ignore[no-untyped-call]
        super().connect()  # type: ignore[no-untyped-call]

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
            if code not in LEAVE:
                raise
            self.disconnect()  # type: ignore[no-untyped-call]
            text = said(exc)
            refused = RefusedError(text if text.startswith(code) else f"{code} {text}")
            self._place.leave(refused)
            raise refused from exc
        self._place.spoke()
        return answer

    @property
    def _is_left(self) -> bool:
        return self._connected_at < self._place.left_at and self._sock is not None

    def _connect(self) -> Any:
        if self._place.is_silent:
            raise redis.TimeoutError(f"{self.host}:{self.port} has not answered a moment ago")
        # Before, not after: meanwhile it may be left.
        self._connected_at = time.monotonic()
        try:
            return super()._connect()  # type: ignore[no-untyped-call]
        except TimeoutError:
            self._give_up(redis.TimeoutError("Timeout connecting to server"))
            raise
        except OSError:
            self._place.spoke()
            raise

    def _give_up(self, why: redis.RedisError) -> None:
        if (self.socket_timeout or _PATIENT_S) >= _PATIENT_S:
            self._place.was_silent(why)


class RedisSSLConnection(RedisConnection, redis.SSLConnection):
    """The same over TLS."""

    def _wrap_socket_with_ssl(self, sock: Any) -> Any:
        try:
            return super()._wrap_socket_with_ssl(sock)  # type: ignore[no-untyped-call]
        except TimeoutError as exc:
            # A Redis without TLS takes what it hears for the beginning of a command.
            raise redis.TimeoutError(
                f"{self.host}:{self.port} is there, but speaks no TLS; without TLS, REDIS_URL begins with redis://"
            ) from exc
