"""The quantiser of VP8 frames, read from what libvpx writes and from anything else."""

from fractions import Fraction

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.media.picture import frame_of
from rtcodec.packet.vp8_header import read_vp8_step
from support.pictures import picture


def frames(quantiser: int, **options: str) -> list[bytes]:
    """A key frame and four others, all at one of libvpx's 64 quantisers."""
    encoder = av.CodecContext.create("libvpx", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 96, 80, "yuv420p"
    encoder.time_base = encoder.framerate = Fraction(1, 25)
    encoder.bit_rate = 300_000
    bounds = {"qmin": str(quantiser), "qmax": str(quantiser)}
    encoder.options = {"deadline": "realtime", "cpu-used": "-8", **bounds, **options}
    coded = []
    for number in range(5):
        frame = frame_of(picture(96, 80, seed=number))
        frame.pts, frame.time_base = number, Fraction(1, 25)
        coded += [bytes(packet) for packet in encoder.encode(frame)]
    return coded + [bytes(packet) for packet in encoder.encode(None)]


# vp8_cx_iface.c: its 64 quantisers are steps 0 to 5, then 7, and from 64 on every third
@pytest.mark.parametrize(
    ("quantiser", "step"), [(0, 2.0), (4, 4.0), (20, 14.5), (40, 34.0), (56, 94.5), (63, 142.0)]
)
def test_every_frame_says_its_step(quantiser: int, step: float) -> None:
    assert {read_vp8_step(data) for data in frames(quantiser)} == {step}


class BoolEncoder:
    """RFC 6386 7.3, for bits that are as likely 0 as 1; numbers of any size, carries and all."""

    def __init__(self) -> None:
        self._low, self._range, self._shifts = 0, 255, 0

    def write(self, number: int, count: int) -> None:
        for at in reversed(range(count)):
            split = 1 + ((self._range - 1) * 128 >> 8)
            if number >> at & 1:
                self._low += split
                self._range -= split
            else:
                self._range = split
            while self._range < 128:
                self._low, self._range = self._low << 1, self._range << 1
                self._shifts += 1

    def data(self) -> bytes:
        padding = -self._shifts % 8
        n_bytes = (self._shifts + padding) // 8 + 1
        return (self._low << padding).to_bytes(n_bytes, "big") + bytes(4)


def write_signed(bits: BoolEncoder, values: list[int | None], size: int) -> None:
    for value in values:
        bits.write(value is not None, 1)
        if value is not None:
            bits.write(abs(value), size)
            bits.write(value < 0, 1)


@given(st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 54), st.data())
def test_segments_and_filters_are_read_over(
    key: bool, segments: bool, by_map: bool, filters: bool, index: int, data: st.DataObject
) -> None:
    def some(count: int, size: int) -> list[int | None]:
        values = st.none() | st.integers(1 - 2**size, 2**size - 1)
        return data.draw(st.lists(values, min_size=count, max_size=count))

    bits = BoolEncoder()
    if key:
        bits.write(0, 2)
    bits.write(segments, 1)
    if segments:
        bits.write(by_map, 1)
        bits.write(2 + data.draw(st.integers(0, 1)), 2)  # they change; by differences or not
        write_signed(bits, some(4, 7), 7)
        write_signed(bits, some(4, 6), 6)
        for probability in some(3, 8) if by_map else []:
            bits.write(probability is not None, 1)
            if probability is not None:
                bits.write(abs(probability), 8)
    bits.write(data.draw(st.integers(0, 1023)), 10)
    bits.write(filters, 1)
    if filters:
        bits.write(1, 1)
        write_signed(bits, some(8, 6), 6)
    bits.write(data.draw(st.integers(0, 3)), 2)
    bits.write(index, 7)
    tag = bytes([0 if key else 1, 0, 0]) + (b"\x9d\x01\x2a" + bytes(4) if key else b"")
    assert read_vp8_step(tag + bits.data()) == (4 + index) / 2


def test_half_a_header_has_no_step() -> None:
    key, delta, *_ = frames(20)
    assert read_vp8_step(key[:11]) is None
    assert read_vp8_step(delta[:4]) is None
    assert read_vp8_step(b"") is None


@given(st.binary(max_size=64))
def test_any_bytes_have_a_step_in_range_or_none(data: bytes) -> None:
    step = read_vp8_step(data)
    assert step is None or 2.0 <= step <= 142.0


@given(st.integers(0, 40))
def test_a_cut_frame_never_says_another_step(n_bytes: int) -> None:
    step = read_vp8_step(_KEY[:n_bytes])
    assert step in (None, 14.5)


_KEY = frames(20)[0]
assert len(_KEY) > 40
