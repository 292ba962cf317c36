"""What the packets of MQTT are made of, from bytes and to bytes (MQTT 5, 1.5 and 2.1); no socket."""

from routemq.errors import RouteMQError


class MalformedPacketError(RouteMQError):
    """A packet breaks the protocol: its lengths do not fit, or it has what was never agreed on."""

    def __init__(self, *, problem: str) -> None:
        self.problem = problem
        super().__init__(f"malformed packet: {problem}")


class CutShortError(MalformedPacketError):
    """The bytes end before the value does; where a packet begins, the rest may still come."""

    def __init__(self) -> None:
        super().__init__(problem="it ends too early")


def read_variable(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Read a variable byte integer (MQTT 5, 1.5.5); return it and where it ends.

    Raises:
        MalformedPacketError: It has more than four bytes.
        CutShortError: There is no more of it than this.
    """
    value = shift = 0
    for byte in data[at : at + 4]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise MalformedPacketError(problem="a length of more than four bytes") if shift == 28 else CutShortError


def read_binary(data: bytes, at: int) -> tuple[bytes, int]:
    """Read a length of two bytes and as many bytes; return them and where they end.

    Raises:
        CutShortError: They are not all there.
    """
    start = at + 2
    end = start + int.from_bytes(data[at:start], "big")
    if end > len(data) or start > len(data):
        raise CutShortError
    return data[start:end], end


def variable(value: int) -> bytes:
    """Return a variable byte integer."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def binary(value: bytes) -> bytes:
    """Return bytes, or a string as UTF-8, with their length before them."""
    return len(value).to_bytes(2, "big") + value


def packet(first: int, body: bytes) -> bytes:
    """Return a control packet."""
    return bytes((first,)) + variable(len(body)) + body
