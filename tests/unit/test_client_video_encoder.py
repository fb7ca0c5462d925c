"""The publisher's own encoder: every size, key frames on request, rates that follow."""

from fractions import Fraction

import av
import numpy as np
import pytest

from rtcodec.errors import ConfigError
from rtcodec.media.picture import planes_of
from rtcodec.media.video_encoder import VideoEncoder, default_bitrate_bps
from rtcodec.types import Planes
from support.pictures import picture

DECODERS = {"vp8": "libvpx", "h264": "h264"}


def encoder(codec: str, size: tuple[int, int], bitrate_bps: int = 500_000) -> VideoEncoder:
    return VideoEncoder(
        codec, width=size[0], height=size[1], frame_rate=Fraction(30), bitrate_bps=bitrate_bps
    )


@pytest.mark.parametrize(
    ("codec", "size"),
    [("vp8", (1, 1)), ("vp8", (17, 23)), ("vp8", (160, 96)), ("h264", (2, 2)), ("h264", (160, 96))],
)
def test_what_goes_in_comes_out_at_once_and_close(codec: str, size: tuple[int, int]) -> None:
    made = encoder(codec, size)
    context = av.CodecContext.create(DECODERS[codec], "r")
    assert isinstance(context, av.VideoCodecContext)
    context.flags |= 1 << 19  # low delay
    seen = 0
    for index in range(5):
        original = picture(*size, 0)
        packet = made.encode(original, index * 3000)
        assert packet is not None
        assert packet.pts == index * 3000
        for frame in context.decode(packet):
            seen += 1
            decoded = planes_of(frame)
            assert (decoded.width, decoded.height) == size
            assert abs(int(decoded.y.mean()) - int(original.y.mean())) < 12
    assert seen >= 4


def is_keyframe(data: bytes) -> bool:
    return data[0] & 1 == 0  # RFC 6386 9.1


def test_a_keyframe_comes_when_it_is_asked_for_and_not_else() -> None:
    made = encoder("vp8", (64, 48))
    kinds = []
    for index in range(6):
        if index == 3:
            made.request_keyframe()
        packet = made.encode(picture(64, 48, index), index * 3000)
        assert packet is not None
        kinds.append(is_keyframe(bytes(packet)))
    assert kinds == [True, False, False, True, False, False]


def test_the_rate_follows_the_receiver_between_floor_and_ceiling() -> None:
    made = encoder("vp8", (64, 48), bitrate_bps=1_000_000)
    made.limit_bitrate(900_000)
    assert made.bitrate_bps == 1_000_000  # not worth a key frame
    made.limit_bitrate(400_000)
    assert made.bitrate_bps == 400_000
    made.limit_bitrate(1)
    assert made.bitrate_bps == 100_000
    made.limit_bitrate(50_000_000)
    assert made.bitrate_bps == 1_000_000


def test_vp8_takes_another_rate_without_a_key_frame() -> None:
    made = encoder("vp8", (160, 96), bitrate_bps=200_000)
    noise = np.random.default_rng(7)
    rates, kinds = [], []
    for index in range(360):
        if index % 90 == 0:
            made.follow_bitrate((200_000, 100_000, 400_000, 5_000_000)[index // 90])
        luma = noise.integers(0, 256, (12, 20), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        grey = np.full((48, 80), 128, np.uint8)
        packet = made.encode(Planes(luma, grey, grey), index * 3000)
        assert packet is not None
        rates.append(8 * 30 * packet.size)
        kinds.append(is_keyframe(bytes(packet)))
    assert [index for index, is_key in enumerate(kinds) if is_key] == [0, 270]  # beyond 4 times
    for start, wanted_bps in ((45, 200_000), (135, 100_000), (225, 400_000)):
        assert np.mean(rates[start : start + 45]) == pytest.approx(wanted_bps, rel=0.15)


def test_what_cannot_be_encoded_is_a_usage_error() -> None:
    with pytest.raises(ConfigError, match="none of"):
        encoder("av1", (64, 48))
    with pytest.raises(ConfigError, match="even sizes"):
        encoder("h264", (63, 48))


def test_the_first_hop_gets_a_rate_for_its_size() -> None:
    assert default_bitrate_bps(16, 16, 30.0) == 300_000
    assert 1_500_000 < default_bitrate_bps(640, 360, 30.0) < 3_000_000
    assert default_bitrate_bps(8000, 8000, 120.0) == 20_000_000
