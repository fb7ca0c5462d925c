"""Reading RTP as it came, and the header of a VP8 payload."""

import pytest
from aiortc.codecs.vpx import vp8_depayload
from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap
from aiortc.rtp import RtpPacket as StockPacket
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.errors import BitstreamError, Corrupt, Truncated
from rtcodec.packet.rtp_packet import RtpPacket, read_rtp, read_vp8_payload

HEADER = bytes([0x80, 0xE1, 0x12, 0x34]) + (90_000).to_bytes(4, "big") + (7).to_bytes(4, "big")


def with_extensions(profile: bytes, extensions: bytes) -> bytes:
    words = (len(extensions) // 4).to_bytes(2, "big")
    return bytes([0x90]) + HEADER[1:] + profile + words + extensions + b"data"


def test_a_packet_is_read_field_by_field() -> None:
    assert read_rtp(HEADER + b"data") == RtpPacket(97, True, 0x1234, 90_000, 7, b"data")
    assert not read_rtp(bytes([0x80, 0x61]) + HEADER[2:]).marker


def test_time_and_number_are_read_whatever_is_between_them() -> None:
    extensions = b"\x32\xab\xcd\xef" + b"\x00" + b"\x10\xff" + b"\x51\x00\x09" + b"\x00\x00"
    data = with_extensions(b"\xbe\xde", extensions)
    packet = read_rtp(data, send_time_id=3, number_id=5)
    assert (packet.send_time, packet.number, packet.payload) == (0xABCDEF, 9, b"data")
    assert read_rtp(data).number is None  # nobody asked


def test_extensions_of_two_byte_headers_are_read() -> None:
    data = with_extensions(b"\x10\x00", b"\x03\x03\xab\xcd\xef\x05\x02\x00\x09\x00\x07\x00")
    packet = read_rtp(data, send_time_id=3, number_id=5)
    assert (packet.send_time, packet.number) == (0xABCDEF, 9)


@pytest.mark.parametrize(
    ("profile", "extensions"),
    [
        (b"\x12\x34", b"\x51\x00\x09\x00"),  # an unknown profile
        (b"\xbe\xde", b"\x52\x00\x09\x00"),  # three bytes are no number
        (b"\xbe\xde", b"\x00\x00\x00\x51"),  # cut short
        (b"\x10\x00", b"\x00\x00\x00\x05"),  # no length
    ],
)
def test_what_is_no_number_is_none(profile: bytes, extensions: bytes) -> None:
    packet = read_rtp(with_extensions(profile, extensions), number_id=5)
    assert (packet.number, packet.payload) == (None, b"data")


def test_padding_is_taken_off_and_counted() -> None:
    packet = read_rtp(bytes([0xA0]) + HEADER[1:] + b"data\0\0\3")
    assert (packet.payload, packet.padding_bytes) == (b"data", 3)
    for end in (b"", b"\0"):
        with pytest.raises(Corrupt, match="padding"):
            read_rtp(bytes([0xA0]) + HEADER[1:] + end + b"\0")
    with pytest.raises(Corrupt, match="padding of 5 bytes"):
        read_rtp(bytes([0xA0]) + HEADER[1:] + b"abc\5")


def test_a_packet_that_ends_early_is_truncated() -> None:
    whole = with_extensions(b"\xbe\xde", b"\x51\x00\x09\x00")
    for end in (11, 13, 18):
        with pytest.raises(Truncated):
            read_rtp(whole[:end], number_id=5)
    with pytest.raises(Truncated, match="sources"):
        read_rtp(bytes([0x82]) + HEADER[1:] + b"\0\0\0\1")
    with pytest.raises(Corrupt, match="version 1"):
        read_rtp(bytes([0x40]) + HEADER[1:])


@given(st.binary(max_size=60), st.integers(0, 255), st.integers(0, 15))
def test_it_is_read_as_aiortc_reads_it(body: bytes, first: int, number_id: int) -> None:
    data = bytes([first]) + HEADER[1:] + body
    try:
        stock: StockPacket | None = StockPacket.parse(data, HeaderExtensionsMap())
    except ValueError:
        stock = None  # it also refuses extensions that are cut short
    try:
        packet = read_rtp(data, number_id=number_id or None)
    except BitstreamError:
        assert stock is None
        return
    if stock is not None:
        assert packet.payload == stock.payload
        assert packet.padding_bytes == stock.padding_size
        assert packet.sequence_number == stock.sequence_number


def test_what_aiortc_writes_is_read() -> None:
    ids = HeaderExtensionsMap()
    vars(ids)["_HeaderExtensionsMap__ids"] = HeaderExtensions(
        mid=1, abs_send_time=3, transport_sequence_number=5
    )
    stock = StockPacket(97, 1, 3, 4, 5, b"payload")
    stock.extensions = HeaderExtensions(
        mid="0", abs_send_time=0x123456, transport_sequence_number=9
    )
    packet = read_rtp(stock.serialize(ids), send_time_id=3, number_id=5)
    assert packet == RtpPacket(97, True, 3, 4, 5, b"payload", 0, 0x123456, 9)


@given(st.binary(min_size=1, max_size=12))
def test_a_vp8_payload_is_read_as_aiortc_reads_it(payload: bytes) -> None:
    try:
        expected: bytes | None = vp8_depayload(payload)
    except ValueError:
        expected = None
    try:
        assert read_vp8_payload(payload) == expected
    except Truncated:
        assert expected is None


def test_a_vp8_payload_of_nothing_is_truncated() -> None:
    with pytest.raises(Truncated):
        read_vp8_payload(b"")
