"""REDIS_URL, read once and in one way for all that connect to Redis."""

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

from routemq.hosts import checked_host

DEFAULT_PORT = 6379

_SHAPE = "redis://[[user]:password@]host[:port][/number]"
_ENCODED = "special characters of the user or password percent-encoded"
_MARKS = {"#": "%23", "?": "%3F", "/": "%2F", "@": "%40", "[": "%5B", "]": "%5D", " ": "%20", "\\": "%5C"}
_PLACE = re.compile(r"(?P<host>\[[^\]]*\]|[^:/]*)(?::(?P<port>[0-9]+))?(?:/(?P<database>[0-9]*))?")
_NOT_ENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """Where Redis is, and who asks.

    Attributes:
        host: A name or an address, without brackets.
        tls: Whether to speak TLS.
    """

    host: str
    port: int = DEFAULT_PORT
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> "RedisAddress":
        """Read a URL; what could be read in two ways, here or by another program, is refused.

        Raises:
            ValueError: Says what to mend, and nothing of what was given: it may be part of a password.
        """
        scheme, found, rest = url.partition("://")
        if not found or scheme not in ("redis", "rediss"):
            raise ValueError("it must start with redis:// or rediss://, without quotes around it")
        _refuse_ambiguous(rest)
        userinfo, at, place = rest.rpartition("@")
        match = _PLACE.fullmatch(place)
        if match is None or not match["host"] or not 0 < int(match["port"] or DEFAULT_PORT) <= 65535:
            raise ValueError(f"{_SHAPE}, {_ENCODED}")
        username, colon, password = userinfo.partition(":")
        if at and not colon:
            raise ValueError(f"{_SHAPE}: a password alone has a colon before it, a user without one a colon behind it")
        return cls(
            host=checked_host(_decoded(match["host"])),
            port=int(match["port"] or DEFAULT_PORT),
            database=int(match["database"] or 0),
            username=_decoded(username) or None,
            password=_decoded(password) or None,
            tls=scheme == "rediss",
        )

    @property
    def url(self) -> str:
        """The same as one URL that every program reads alike."""
        user = "" if self.username is None else quote(self.username, safe="")
        password = "" if self.password is None else quote(self.password, safe="")
        userinfo = f"{user}:{password}@" if user or password else ""
        host = quote(self.host, safe=":")
        host = f"[{host}]" if ":" in host else host
        return f"{'rediss' if self.tls else 'redis'}://{userinfo}{host}:{self.port}/{self.database}"


def _refuse_ambiguous(rest: str) -> None:
    if "?" in rest and "@" not in rest.partition("?")[2]:
        raise ValueError(
            "nothing may stand behind a '?': the database is the number at the end, timeouts are RouteMQ's own, for "
            "TLS there are REDIS_TLS_CA_CERTS, REDIS_TLS_CERTFILE, REDIS_TLS_KEYFILE and REDIS_TLS_INSECURE"
        )
    userinfo = rest.rpartition("@")[0]
    for mark, encoded in _MARKS.items():
        if mark in userinfo or (mark in "#? \\" and mark in rest):
            raise ValueError(f"'{mark}' could end the password or be part of it: write it as {encoded} there")
    if not rest.isprintable():
        raise ValueError("it contains a character that cannot be seen, such as a tab or a line break")
    if _NOT_ENCODED.search(rest):
        raise ValueError("'%' is followed by two hexadecimal digits; one of the user or password is written as %25")


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{_SHAPE}, {_ENCODED} as UTF-8") from None
