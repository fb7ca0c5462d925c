"""What FFmpeg's codecs take and give: contexts by name, planes of their frames."""

from typing import Literal, cast

import av
import numpy as np
from numpy.typing import NDArray

from rtcodec.types import Planes


def video_context(name: str, mode: Literal["r", "w"]) -> av.VideoCodecContext:
    """
    Return a single-threaded encoder (`w`) or decoder (`r`) of FFmpeg.

    Raises:
        av.codec.codec.UnknownCodecError: If this FFmpeg lacks it.
    """
    context = cast(av.VideoCodecContext, av.CodecContext.create(name, mode))
    context.thread_count = 1
    return context


def frame_to_planes(frame: av.VideoFrame) -> Planes:
    """Copy a frame's planes; a format other than yuv420p is converted."""
    if frame.format.name not in ("yuv420p", "yuvj420p"):
        frame = frame.reformat(format="yuv420p")
    width, height = frame.width, frame.height
    chroma = (-(-height // 2), -(-width // 2))
    copies: list[NDArray[np.uint8]] = []
    for plane, (rows, columns) in zip(frame.planes, ((height, width), chroma, chroma), strict=True):
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        copies.append(lines[:rows, :columns].copy())
    return Planes(*copies)
