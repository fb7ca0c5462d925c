"""
Frames of clips as VP8 and H.264 make them in a call, beside what they were.

Coded by the encoder that publishers here use, one pass, at a rate drawn for each coding. A clip
is played to and fro: a call's frames are mostly far from a key frame.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rtcodec.codec.coded_call import FRAME_RATE, code_call
from rtcodec.types import Planes

BITS_PER_PIXEL = (0.012, 0.16)
"Of a coding, log-uniform: 640x360 at 25 frames per second at 70 to 920 kb/s."

PLAYED, KEPT_FROM, KEPT_EVERY = 26, 1, 4
"Frames of a coding; the first that is kept, and each how manieth from there."


@dataclass(frozen=True, slots=True)
class CodedFrame:
    """One frame before and after."""

    clean: Planes
    coded: Planes

    step: float
    "Of its quantiser, see `rtcodec.media.quantiser`."


def coded_frames(
    clips: Sequence[Sequence[Planes]], codec: str, *, codings: int, seed: int
) -> Iterator[CodedFrame]:
    """
    Every clip coded *codings* times, and of each coding some frames.

    Args:
        clips: Frames in order.
        codec: `vp8` or `h264`.
        codings: Of each clip.
        seed: Of their rates.
    """
    rng = random.Random(seed)
    for clip in clips:
        there_and_back = [*clip, *clip[-2:0:-1]]
        played = [there_and_back[i % len(there_and_back)] for i in range(PLAYED)]
        pixels_per_s = clip[0].y.size * float(FRAME_RATE)
        for _ in range(codings):
            low, high = np.log(BITS_PER_PIXEL)
            bitrate_bps = int(pixels_per_s * np.exp(rng.uniform(low, high)))
            for at, planes, step in code_call(played, codec, bitrate_bps):
                if at >= KEPT_FROM and (at - KEPT_FROM) % KEPT_EVERY == 0:
                    yield CodedFrame(played[at], planes, step)
