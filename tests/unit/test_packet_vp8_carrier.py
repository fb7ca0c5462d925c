"""Frames of latents in VP8: what a browser's depacketizer makes of them is what was carried."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.errors import BitstreamError, Corrupt, LocalProtocolError, Truncated, Unsupported
from rtcodec.packet.packetizer import CutFrame, write_payload_head
from rtcodec.packet.payload import MAX_PAYLOAD_BYTES, FrameTiming
from rtcodec.packet.vp8_carrier import CarriedFrame, carry_frame, read_carried

TIMING = FrameTiming(7, 1_700_000_000_000_000, 1_699_999_999_990_000, receive_us=500)
SIZE = (640, 360)


def depacketize(frame: CutFrame, delivery: int = 0) -> bytes:
    """Take the descriptors off, as RFC 7741 has them, and join what is left."""
    wire = [write_payload_head(p, delivery) + p.rest for p in frame.payloads]
    assert [payload[0] for payload in wire] == [0x10, *[0] * (len(wire) - 1)]
    assert sum(map(len, wire)) == frame.payload_bytes
    assert all(len(payload) <= MAX_PAYLOAD_BYTES for payload in wire)
    return b"".join(payload[1:] for payload in wire)


def carried(*packets: bytes, delivery: int = 0, is_keyframe: bool = False) -> bytes:
    frame = carry_frame(packets, timing=TIMING, is_keyframe=is_keyframe, size=SIZE)
    return depacketize(frame, delivery)


@given(
    st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=5),
    st.integers(0, 0xFFFF),
    st.booleans(),
)
def test_what_is_carried_comes_out(packets: list[bytes], delivery: int, is_keyframe: bool) -> None:
    data = carried(*packets, delivery=delivery, is_keyframe=is_keyframe)
    assert read_carried(data) == CarriedFrame(delivery, is_keyframe, TIMING, tuple(packets))


def test_every_frame_looks_like_a_vp8_key_frame_of_its_size() -> None:
    data = carried(b"x" * 2000)
    tag = int.from_bytes(data[:3], "little")
    assert tag & 1 == 0  # a key frame, to a browser
    assert tag >> 4 & 1 == 1  # that is shown
    assert tag >> 5 == len(data) - 10  # and whose first partition is all of it
    assert data[3:6] == b"\x9d\x01\x2a"
    assert int.from_bytes(data[6:8], "little") == 640
    assert int.from_bytes(data[8:10], "little") == 360


def test_a_header_says_as_much_as_fits_of_what_is_larger() -> None:
    frame = carry_frame(
        [bytes([1]) * 600_000], timing=TIMING, is_keyframe=True, size=(20_000, 16_383)
    )
    data = depacketize(frame)
    assert int.from_bytes(data[:3], "little") >> 5 == 0x7FFFF
    assert int.from_bytes(data[6:8], "little") == 16_383
    assert len(read_carried(data).packets[0]) == 600_000


def test_only_the_delivery_number_differs_between_receivers() -> None:
    frame = carry_frame([b"x" * 2000], timing=TIMING, is_keyframe=False, size=SIZE)
    assert not frame.takes_parities  # a browser would take one for a packet sent again
    assert [payload.head is None for payload in frame.payloads] == [False, True]
    one, other = depacketize(frame, 1), depacketize(frame, 0x203)
    assert [i for i, pair in enumerate(zip(one, other, strict=True)) if len({*pair}) > 1] == [
        10,
        11,
    ]


@pytest.mark.parametrize("packets", [[], [b"x", b""]])
def test_a_frame_needs_packets(packets: list[bytes]) -> None:
    with pytest.raises(LocalProtocolError):
        carry_frame(packets, timing=TIMING, is_keyframe=False, size=SIZE)


@given(st.data())
def test_what_ends_early_is_truncated_unless_it_ends_between_packets(data: st.DataObject) -> None:
    whole = carried(b"one", b"two")
    cut = data.draw(st.integers(0, len(whole) - 1))
    if cut == len(whole) - 7:
        assert read_carried(whole[:cut]).packets == (b"one",)
        return
    with pytest.raises(Truncated):
        read_carried(whole[:cut])


@pytest.mark.parametrize(
    ("at", "value", "error"),
    [
        (0, 0x11, Unsupported),  # a delta frame of VP8
        (3, 0, Unsupported),
        (12, 0x80, Unsupported),  # version 2
        (12, 0x41, Corrupt),
        (44, 0, Corrupt),  # the length of the only packet
        (44, 9, Truncated),
    ],
)
def test_what_is_not_ours_is_refused(at: int, value: int, error: type[BitstreamError]) -> None:
    data = bytearray(carried(b"x"))
    data[at] = value
    with pytest.raises(error):
        read_carried(bytes(data))
