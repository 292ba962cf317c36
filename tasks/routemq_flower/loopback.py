"""From where Flower can be reached, and where a request comes from: told by sockets, for a header says anything."""

import contextlib
import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest

_PROXY_HEADERS = ("Forwarded", "Via", "X-Real-Ip", "X-Scheme")
_PROXY_FAMILY = "X-Forwarded-"


def is_loopback(address: object) -> bool:
    """Return whether a socket's address, as Python gives it, is one that only this machine reaches."""
    # A Unix socket's address is a path: whoever is in front of it, a person's browser is not.
    host = address[0] if isinstance(address, tuple) else ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listens_on_loopback_alone(loop: Any) -> bool:
    """Return whether every socket on which an event loop accepts connections is on a loopback address.

    The option `--address` may be a name, which means what it means when the sockets are made, and Flower keeps them
    nowhere; the handlers of its loop are where they are.
    """
    addresses = []
    # What is no socket, or one that is closed at this moment, accepts nothing.
    for file, _ in list(loop.handlers.values()):
        with contextlib.suppress(OSError, AttributeError):
            if file.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                addresses.append(file.getsockname())
    return bool(addresses) and all(is_loopback(address) for address in addresses)


def comes_from_here(request: HTTPServerRequest) -> bool:
    """Return whether the other end of the connection is a program of this machine that is no proxy for another."""
    if any(name in request.headers for name in _PROXY_HEADERS):
        return False
    if any(name.startswith(_PROXY_FAMILY) for name in request.headers):
        return False
    # Not `remote_ip`, which --xheaders takes from a header.
    return is_loopback(getattr(getattr(request.connection, "context", None), "address", None))


def asks_for_loopback(request: HTTPServerRequest) -> bool:
    """Return whether the name in the browser's address bar is one of this machine.

    A page of a foreign site, whose name was made to lead to 127.0.0.1, has its own name there.
    """
    # Without the header, as in HTTP/1.0, `request.host` is 127.0.0.1.
    try:
        host = urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
    except ValueError:
        return False
    return host == "localhost" or host.endswith(".localhost") or is_loopback((host, 0))
