"""The size of coded pictures, read from what real encoders write and from anything else."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcodec.packet.video_size import fits, read_frame_size


def coded(codec: str, size: tuple[int, int], **options: str) -> bytes:
    """Return the first frame as an encoder writes it."""
    width, height = size
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = options.pop("pix_fmt", "yuv420p")
    encoder.time_base = Fraction(1, 30)
    encoder.options = {"x264-params": "log-level=error", **options} if "264" in codec else options
    frame = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")
    picture = frame.reformat(format=encoder.pix_fmt)
    picture.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])


@pytest.mark.parametrize("size", [(16, 16), (640, 360), (1921, 1081), (360, 640)])
def test_vp8_says_its_size(size: tuple[int, int]) -> None:
    assert read_frame_size("VP8", coded("libvpx", size)) == size


@pytest.mark.parametrize("size", [(16, 16), (640, 368), (1280, 720), (90, 160), (1920, 1088)])
@pytest.mark.parametrize(
    "options",
    [
        {"profile": "baseline"},
        {"profile": "high"},
        {"profile": "high444", "pix_fmt": "yuv444p"},
        {"profile": "high10", "pix_fmt": "yuv420p10le"},
        {"flags": "+ildct"},
    ],
)
def test_h264_says_its_coded_size(size: tuple[int, int], options: dict[str, str]) -> None:
    unit = 32 if "flags" in options else 16
    width, height = -(-size[0] // 16) * 16, -(-size[1] // unit) * unit
    assert read_frame_size("H264", coded("libx264", size, **options)) == (width, height)


def test_what_is_no_key_frame_says_nothing() -> None:
    frame = bytearray(coded("libvpx", (64, 64)))
    frame[0] |= 1
    assert read_frame_size("VP8", bytes(frame)) is None
    assert read_frame_size("VP8", bytes(frame[:9])) is None
    assert read_frame_size("VP8", b"\x00" * 20) is None
    assert read_frame_size("H264", b"\x00\x00\x01\x65\x88\x84") is None
    assert read_frame_size("H264", b"\x00\x00\x01") is None
    assert read_frame_size("H264", b"") is None


def test_of_several_parameter_sets_the_largest_counts() -> None:
    small, large = coded("libx264", (64, 64)), coded("libx264", (640, 480))
    assert read_frame_size("H264", small + large) == (640, 480)
    assert read_frame_size("H264", large + small) == (640, 480)


class Writer:
    """Writes parameter sets that x264 does not."""

    def __init__(self) -> None:
        self.bits = ""

    def u(self, value: int, n_bits: int) -> "Writer":
        self.bits += f"{value:0{n_bits}b}"
        return self

    def ue(self, *values: int) -> "Writer":
        for value in values:
            self.bits += "0" * ((value + 1).bit_length() - 1) + f"{value + 1:b}"
        return self

    def se(self, *values: int) -> "Writer":
        return self.ue(*(2 * value - 1 if value > 0 else -2 * value for value in values))

    def unit(self) -> bytes:
        bits = self.bits + "1"
        bits += "0" * (-len(bits) % 8)
        data = bytearray()
        for byte in int(bits, 2).to_bytes(len(bits) // 8, "big"):
            if byte <= 3 and data.endswith(b"\x00\x00"):
                data.append(3)
            data.append(byte)
        return b"\x00\x00\x00\x01\x67" + data


def start(profile: int) -> Writer:
    return Writer().u(profile, 8).u(0, 8).u(30, 8).ue(0)


def size(writer: Writer, width: int = 4, height: int = 3, *, frames_only: bool = True) -> Writer:
    return writer.ue(1).u(0, 1).ue(width - 1, height - 1).u(int(frames_only), 1)


def test_the_other_ways_of_counting_pictures_are_read() -> None:
    by_cycle = size(start(66).ue(0, 1).u(0, 1).se(-3, 4).ue(2).se(1, -1))
    assert read_frame_size("H264", by_cycle.unit()) == (64, 48)
    in_order = size(start(66).ue(0, 2), frames_only=False)
    assert read_frame_size("H264", in_order.unit()) == (64, 96)


def test_a_cycle_that_is_too_long_is_no_parameter_set() -> None:
    writer = start(66).ue(0, 1).u(0, 1).se(0, 0).ue(256)
    assert read_frame_size("H264", writer.unit()) is None


def test_scaling_lists_are_skipped() -> None:
    def lists(writer: Writer, n_lists: int) -> Writer:
        writer.u(1, 1)
        for index in range(n_lists):
            if index == 0:
                writer.u(1, 1).se(*([0] * 16))  # all of a small one
            elif index == 6:
                writer.u(1, 1).se(4, -12)  # ends at the second scale
            else:
                writer.u(0, 1)
        return writer

    high = lists(start(100).ue(1, 0, 0).u(0, 1), 8).ue(0, 0, 0)
    assert read_frame_size("H264", size(high).unit()) == (64, 48)
    full = lists(start(244).ue(3).u(0, 1).ue(0, 0).u(0, 1), 12).ue(0, 0, 0)
    assert read_frame_size("H264", size(full).unit()) == (64, 48)


def test_a_number_of_more_than_32_bits_is_no_number() -> None:
    assert read_frame_size("H264", Writer().u(66, 8).u(0, 16).u(0, 40).u(1, 60).unit()) is None


@given(st.binary(max_size=80), st.sampled_from(["VP8", "H264"]))
def test_any_bytes_have_a_size_or_none(data: bytes, codec: str) -> None:
    for frame in (data, b"\x00\x00\x01\x67" + data, b"\x00\x00\x01\x67\x64" + data):
        found = read_frame_size(codec, frame)
        assert found is None or min(found) >= 0


def test_a_picture_fits_lying_or_standing() -> None:
    assert fits((640, 360), (640, 360))
    assert fits((360, 640), (640, 360))
    assert not fits((641, 10), (640, 360))
    assert not fits((400, 361), (640, 360))
