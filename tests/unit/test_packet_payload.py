"""RTP payloads: every field, every limit."""

import pytest

from rtcodec.errors import Corrupt, Truncated, Unsupported
from rtcodec.packet.payload import (
    HEADER_BYTES,
    MAX_PACKET_BYTES,
    MAX_PAYLOAD_BYTES,
    STAGE_UNIT_US,
    TIMING_BYTES,
    FrameTiming,
    Payload,
    read_payload,
    write_payload,
)

TIMING = FrameTiming(
    pts=90_000,
    received_us=1_700_000_000_000_000,
    capture_us=1_699_999_999_990_000,
    receive_us=100,
    decode_us=2_000,
    queue_us=50,
    batch_us=0,
    engine_us=20_000,
    entropy_us=3_000,
)
FIRST = Payload(7, 0, 3, True, False, True, b"abc", TIMING)


def test_a_payload_comes_back_as_it_was() -> None:
    assert read_payload(write_payload(FIRST)) == FIRST


def test_a_payload_without_timing_comes_back_as_it_was() -> None:
    later = Payload(65535, 2, 3, False, True, False, b"x")
    wire = write_payload(later)
    assert len(wire) == HEADER_BYTES + 1
    assert read_payload(wire) == later


def test_the_layout_is_the_one_in_the_picture() -> None:
    wire = write_payload(FIRST)
    assert wire[:HEADER_BYTES] == bytes([0x40 | 0x20 | 0x10 | 0x04, 0, 7, 0, 0, 0, 3])
    assert wire[HEADER_BYTES : HEADER_BYTES + 4] == (90_000).to_bytes(4, "big")
    assert wire[HEADER_BYTES + TIMING_BYTES :] == b"abc"


def test_a_packet_of_the_largest_size_fits_into_the_first_payload() -> None:
    wire = write_payload(Payload(0, 0, 1, True, True, True, bytes(MAX_PACKET_BYTES), TIMING))
    assert len(wire) == MAX_PAYLOAD_BYTES


def test_stages_are_rounded_to_their_unit_and_saturate() -> None:
    timing = FrameTiming(0, 0, receive_us=74, decode_us=75, engine_us=10**9, entropy_us=-5)
    read = read_payload(write_payload(Payload(0, 0, 1, True, True, True, b"x", timing))).timing
    assert read is not None
    assert read.stages_us == (50, 100, 0, 0, 65535 * STAGE_UNIT_US, 0)


def test_a_capture_time_after_reception_becomes_reception() -> None:
    timing = FrameTiming(0, 1_000_000, capture_us=1_000_500)
    read = read_payload(write_payload(Payload(0, 0, 1, True, True, True, b"x", timing))).timing
    assert read is not None
    assert read.capture_us == 1_000_000


def test_the_time_of_coding_is_the_sum_of_the_stages() -> None:
    assert TIMING.coded_us == TIMING.received_us + 25_150


@pytest.mark.parametrize("length", range(HEADER_BYTES))
def test_a_header_that_ends_early_is_truncated(length: int) -> None:
    with pytest.raises(Truncated, match="header") as caught:
        read_payload(write_payload(FIRST)[:length])
    assert caught.value.offset == length


def test_timing_that_ends_early_is_truncated() -> None:
    with pytest.raises(Truncated, match="timing"):
        read_payload(write_payload(FIRST)[: HEADER_BYTES + TIMING_BYTES - 1])


@pytest.mark.parametrize("length", [HEADER_BYTES, HEADER_BYTES + TIMING_BYTES])
def test_a_payload_without_data_is_truncated(length: int) -> None:
    payload = FIRST if length > HEADER_BYTES else Payload(0, 0, 1, True, True, True, b"x")
    with pytest.raises(Truncated, match="no data"):
        read_payload(write_payload(payload)[:length])


def test_another_version_is_unsupported() -> None:
    wire = bytearray(write_payload(FIRST))
    wire[0] ^= 0xC0
    with pytest.raises(Unsupported, match="version 2"):
        read_payload(bytes(wire))


def test_a_reserved_bit_is_corrupt() -> None:
    wire = bytearray(write_payload(FIRST))
    wire[0] |= 0x02
    with pytest.raises(Corrupt, match="reserved flags set: 0x02"):
        read_payload(bytes(wire))


@pytest.mark.parametrize(("index", "count"), [(0, 0), (3, 3), (9, 3)])
def test_a_place_outside_the_frame_is_corrupt(index: int, count: int) -> None:
    with pytest.raises(Corrupt, match=f"payload {index} of {count}"):
        read_payload(write_payload(Payload(0, index, count, True, True, True, b"x")))


def test_timing_in_a_later_payload_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="timing in payload 1"):
        read_payload(write_payload(Payload(0, 1, 2, True, True, True, b"x", TIMING)))
