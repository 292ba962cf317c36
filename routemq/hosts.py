"""What may stand where a host is asked for."""

import ipaddress
import re

_LONGEST_HOST = 253
_NAME = re.compile(r"[\w.-]+")


def checked_host(text: str) -> str:
    """Return a host as it is put to the resolver, an IPv6 address without its brackets.

    Raises:
        ValueError: It is none; says what one is.
    """
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError as exc:
            raise ValueError(f"it looks like an IPv6 address, and is none: {exc}") from None
        return host
    try:
        # The resolver has no word for what it cannot encode.
        encoded = host.encode("idna")
    except UnicodeError:
        encoded = b""
    if not _NAME.fullmatch(host) or not 0 < len(encoded) <= _LONGEST_HOST:
        raise ValueError(
            f"no host name: parts of 1 to 63 characters between the dots, {_LONGEST_HOST} characters in all, which are "
            "letters, digits, '-' and '_'"
        )
    return host
