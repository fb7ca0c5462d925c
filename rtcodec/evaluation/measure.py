"""
Runs one clip through one codec at one setting.

    clip --encode--> bytes --decode--> planes --Meter--> Point

Reads the clock, for encoding and decoding alone: comparing is not timed.
"""

import time

from rtcodec.evaluation.clip import Clip
from rtcodec.evaluation.codec import Codec, Encoded
from rtcodec.evaluation.figures import FrameFigures, Meter, mean
from rtcodec.evaluation.result import Point
from rtcodec.quality import mean_psnr


def measure(codec: Codec, clip: Clip, setting: int) -> Point:
    """
    Code and decode *clip* once.

    Raises:
        ValueError: If it does not come back with the same frames.
    """
    start = time.perf_counter()
    encoded = codec.encode(clip, setting)
    encode_s = time.perf_counter() - start
    decode_s, frames = _decode(codec, encoded, clip)
    n_frames = len(clip.frames)
    return Point(
        clip=clip.name,
        kind=clip.kind,
        width=clip.width,
        height=clip.height,
        n_frames=n_frames,
        frame_rate=clip.frame_rate,
        codec=codec.name,
        unit=codec.unit,
        setting=setting,
        size_bytes=encoded.size_bytes,
        psnr_db=mean_psnr(frame.psnr_db for frame in frames),
        ms_ssim=mean(frame.ms_ssim for frame in frames),
        vmaf=mean(frame.vmaf for frame in frames),
        encode_ms=1000 * encode_s / n_frames,
        decode_ms=1000 * decode_s / n_frames,
        frames=frames,
    )


def _decode(codec: Codec, encoded: Encoded, clip: Clip) -> tuple[float, tuple[FrameFigures, ...]]:
    """Return the seconds spent decoding, and each frame's figures (not timed)."""
    meter = Meter(clip)
    decoded = codec.decode(encoded, clip)
    seconds = 0.0
    while True:
        start = time.perf_counter()
        planes = next(decoded, None)
        seconds += time.perf_counter() - start
        if planes is None:
            return seconds, meter.finish(encoded.sizes_bytes(len(clip.frames)))
        meter.add(planes)
