"""What packets are made of: the examples of the specification, and what is cut or never ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routemq.mqtt_wire import CutShortError, MalformedPacketError, binary, packet, read_binary, read_variable, variable


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (16_383, b"\xff\x7f"), (16_384, b"\x80\x80\x01"),
        (2_097_151, b"\xff\xff\x7f"), (2_097_152, b"\x80\x80\x80\x01"), (268_435_455, b"\xff\xff\xff\x7f"),
    ],
)  # fmt: skip
def test_a_variable_byte_integer_is_written_and_read(value: int, written: bytes) -> None:
    assert variable(value) == written
    assert read_variable(b"-" + written + b"\x80", 1) == (value, 1 + len(written))
    for size in range(len(written)):
        with pytest.raises(CutShortError):
            read_variable(bytearray(written[:size]), 0)


def test_one_of_more_than_four_bytes_is_malformed_and_not_only_cut() -> None:
    with pytest.raises(MalformedPacketError) as refused:
        read_variable(b"\xff\xff\xff\xff", 0)
    assert not isinstance(refused.value, CutShortError)


@given(st.binary(max_size=300), st.binary(max_size=3))
def test_a_string_is_written_and_read(value: bytes, after: bytes) -> None:
    written = binary(value)
    assert read_binary(b"-" + written + after, 1) == (value, 1 + len(written))
    with pytest.raises(CutShortError):
        read_binary(written[:-1], 0)


def test_a_packet_has_its_length_behind_its_first_byte() -> None:
    assert packet(0xD0, b"") == b"\xd0\x00"
    assert packet(0x30, b"x" * 200) == b"\x30\xc8\x01" + b"x" * 200
