"""Compounds of RTCP taken apart, and feedback written."""

import pytest
from aiortc.rtp import RtcpPacket as StockPacket
from aiortc.rtp import RtcpPsfbPacket, RtcpRtpfbPacket
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.errors import BitstreamError, Corrupt, Truncated
from rtcodec.packet.rtcp import (
    APPLICATION_FORMAT,
    PAYLOAD_FEEDBACK,
    TRANSPORT_FEEDBACK,
    TRANSPORT_WIDE_FORMAT,
    read_rtcp,
    write_feedback,
)

WIDE = write_feedback(
    TRANSPORT_FEEDBACK, TRANSPORT_WIDE_FORMAT, ssrc=6, media_ssrc=7, control=b"12345678"
)
NACK = bytes(RtcpRtpfbPacket(fmt=1, ssrc=6, media_ssrc=7, lost=[3, 9]))


def test_a_compound_comes_apart_in_order() -> None:
    wide, nack = read_rtcp(WIDE + NACK)
    assert (wide.type, wide.fmt, wide.is_feedback) == (205, 15, True)
    assert (wide.media_ssrc, wide.control) == (7, b"12345678")
    assert (nack.fmt, nack.data) == (1, NACK)


def test_padding_is_no_part_of_what_is_said() -> None:  # browsers pad their feedback
    padded = bytearray(WIDE + b"\0\0\0\4")
    padded[0] |= 0x20
    padded[3] += 1
    (packet,) = read_rtcp(bytes(padded))
    assert (packet.control, packet.data) == (b"12345678", bytes(padded))
    for wrong in (0, 21):
        padded[-1] = wrong
        with pytest.raises(Corrupt, match=f"padding of {wrong} bytes"):
            list(read_rtcp(bytes(padded)))


def test_what_ends_early_is_truncated_after_what_was_whole() -> None:
    packets = read_rtcp(WIDE + NACK[:-1])
    assert next(packets).control == b"12345678"
    with pytest.raises(Truncated):
        next(packets)
    with pytest.raises(Truncated, match="header"):
        list(read_rtcp(b"\x8f\xcd\0"))
    with pytest.raises(Corrupt, match="version 1"):
        list(read_rtcp(b"\x4f" + WIDE[1:]))


def test_feedback_that_names_no_stream_is_none() -> None:
    (short,) = read_rtcp(b"\x8f\xcd\0\1\0\0\0\6")
    assert not short.is_feedback
    (report,) = read_rtcp(b"\x80\xc9\0\2" + bytes(8))
    assert not report.is_feedback


def test_feedback_is_written_as_aiortc_writes_it() -> None:
    stock = RtcpPsfbPacket(fmt=APPLICATION_FORMAT, ssrc=6, media_ssrc=7, fci=b"abcd")
    assert bytes(stock) == write_feedback(
        PAYLOAD_FEEDBACK, APPLICATION_FORMAT, ssrc=6, media_ssrc=7, control=b"abcd"
    )


@given(st.binary(max_size=64))
def test_any_bytes_come_apart_or_are_refused(data: bytes) -> None:
    try:
        packets = list(read_rtcp(data))
    except BitstreamError:
        with pytest.raises(ValueError, match="RTCP"):
            StockPacket.parse(data)
        return
    assert b"".join(packet.data for packet in packets) == data
