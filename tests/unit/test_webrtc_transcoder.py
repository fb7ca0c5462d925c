"""Pictures become VP8 or H.264 on a thread: newest wins, key frames are not flooded."""

import asyncio

import av
import pytest

from rtcodec.media.picture import planes_of
from rtcodec.webrtc.transcoder import Transcoder
from rtcodec.webrtc.video_sender import VideoFrame
from support.pictures import picture
from support.relay import until

MINUTE_US = 60_000_000


class Made:
    """A transcoder and what came out of it."""

    def __init__(self, codec: str, *, keyframe_interval_us: int = 0) -> None:
        self.frames: list[VideoFrame] = []
        self.transcoder = Transcoder(
            codec,
            bitrate_bps=500_000,
            keyframe_interval_us=keyframe_interval_us,
            on_frame=self.frames.append,
        )

    async def put(self, width: int, height: int, number: int) -> VideoFrame:
        n_before = len(self.frames)
        self.transcoder.put(picture(width, height, number), number * 3000)
        await until(lambda: len(self.frames) > n_before)
        return self.frames[-1]


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_change_of_size_is_a_key_frame_and_goes_on(codec: str) -> None:
    made = Made(codec, keyframe_interval_us=MINUTE_US)
    kinds = []
    for number, size in enumerate([(64, 48), (64, 48), (96, 64), (96, 64)]):
        kinds.append((await made.put(*size, number)).is_keyframe)
    await made.transcoder.close()
    assert kinds == [True, False, True, False]


async def test_a_picture_of_odd_size_loses_a_pixel_in_h264() -> None:
    made = Made("H264")
    frame = await made.put(33, 17, 0)
    await made.transcoder.close()
    assert made.transcoder.counters.failed == 0
    context = av.CodecContext.create("h264", "r")
    assert isinstance(context, av.VideoCodecContext)
    nals = b"".join(_annex_b(payload.rest) for payload in frame.cut.payloads)
    (decoded,) = [*context.decode(av.Packet(nals)), *context.decode(None)]
    assert (planes_of(decoded).width, planes_of(decoded).height) == (32, 16)


def _annex_b(payload: bytes) -> bytes:
    """Take apart one payload that is no fragment. # RFC 6184 5.6, 5.7"""
    if payload[0] & 0x1F != 24:
        return b"\0\0\0\1" + payload
    nals, rest = b"", payload[1:]
    while rest:
        n_bytes = int.from_bytes(rest[:2], "big")
        nals += b"\0\0\0\1" + rest[2 : 2 + n_bytes]
        rest = rest[2 + n_bytes :]
    return nals


async def test_a_picture_that_is_overtaken_is_counted_and_none_is_lost_sight_of() -> None:
    made = Made("VP8")
    for number in range(200):
        made.transcoder.put(picture(160, 96, number % 3), number * 3000)
    counters = made.transcoder.counters
    await until(lambda: len(made.frames) and made.frames[-1].pts == 199 * 3000)
    await made.transcoder.close()
    assert counters.received == 200
    assert counters.superseded > 0
    assert counters.encoded + counters.superseded + counters.failed == 200
    assert [frame.pts for frame in made.frames] == sorted(frame.pts for frame in made.frames)


async def test_a_flood_of_requests_makes_one_key_frame_within_the_interval() -> None:
    made = Made("VP8", keyframe_interval_us=MINUTE_US)
    for number in range(10):
        made.transcoder.request_keyframe()
        await made.put(64, 48, number)
    await made.transcoder.close()
    assert [frame.is_keyframe for frame in made.frames] == [True] + [False] * 9


async def test_a_lower_rate_makes_smaller_frames_and_comes_back_up_to_the_ceiling() -> None:
    made = Made("H264")
    made.transcoder.limit_bitrate(120_000)
    assert made.transcoder.target_bps == 120_000
    made.transcoder.limit_bitrate(9_000_000)
    assert made.transcoder.target_bps == 500_000
    await made.transcoder.close()


async def test_closing_drops_what_waits_and_takes_no_more() -> None:
    made = Made("VP8")
    await made.transcoder.close()
    made.transcoder.put(picture(64, 48, 0), 0)
    await asyncio.sleep(0)
    assert made.frames == []
    assert made.transcoder.counters.superseded == made.transcoder.counters.received == 1
