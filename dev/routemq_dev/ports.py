"""Where the servers of `routemq dev` listen."""

import socket

from routemq.errors import RouteMQError

LOOPBACK = "127.0.0.1"


class PortTakenError(RouteMQError):
    """A port that was asked for by hand is in use."""

    def __init__(self, *, what: str, port: int, option: str) -> None:
        self.what, self.port, self.option = what, port, option
        super().__init__(
            f"port {port} is in use, so {what} cannot have it. Mend: give {option} another one, or leave it out: "
            "then a free one is taken."
        )


def choose_port(preferred: int, *, asked: int | None, what: str, option: str) -> int:
    """Return the port that was asked for, or the preferred one, or a free one.

    Raises:
        PortTakenError: The one that was asked for is in use.
    """
    if asked is not None:
        if not is_free(asked):
            raise PortTakenError(what=what, port=asked, option=option)
        return asked
    return preferred if is_free(preferred) else free_port()


def is_free(port: int) -> bool:
    """Return whether nothing listens on this port, on the loopback address or on all of them."""
    with socket.socket() as candidate:
        # As the servers do it: connections of the last run that linger do not count.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port that nothing listens on right now."""
    with socket.socket() as candidate:
        candidate.bind((LOOPBACK, 0))
        port: int = candidate.getsockname()[1]
        return port
