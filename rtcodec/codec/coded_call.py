"""
What a call's VP8 or H.264 makes of frames, and how coarsely each was quantised.

By the encoder that publishers here use, one pass.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Final

import av
from av.video.frame import VideoFrame

from rtcodec.media.picture import planes_of
from rtcodec.media.quantiser import EXPORT_QUANTISER, h264_step
from rtcodec.media.video_encoder import VideoEncoder
from rtcodec.packet.vp8_header import read_vp8_step
from rtcodec.timebase import RTP_TIME_BASE
from rtcodec.types import Planes

FRAME_RATE: Final = Fraction(25)


def code_call(
    frames: Sequence[Planes], codec: str, bitrate_bps: int
) -> Iterator[tuple[int, Planes, float]]:
    """
    Code frames as a publisher does.

    Args:
        frames: Of one size, sides even.
        codec: `vp8` or `h264`.
        bitrate_bps: At 25 frames per second.

    Returns:
        Which frame, as decoded, and its step; frames that were left out, or do not say, are not
        among them.
    """
    width, height = frames[0].width, frames[0].height
    encoder = VideoEncoder(
        codec, width=width, height=height, frame_rate=FRAME_RATE, bitrate_bps=bitrate_bps
    )
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.options = EXPORT_QUANTISER
    decoder.thread_count = 1
    for number, planes in enumerate(frames):
        packet = encoder.encode(planes, int(number / FRAME_RATE / RTP_TIME_BASE))
        if packet is None:
            continue
        for picture in decoder.decode(packet):
            step = _step_of(codec, bytes(packet), picture)
            if step is not None:
                yield number, planes_of(picture), step


def _step_of(codec: str, data: bytes, picture: VideoFrame) -> float | None:
    return read_vp8_step(data) if codec == "vp8" else h264_step(picture)
