"""
Planes in and out of PyAV frames, without conversion.

yuv420p planes pass as they are; only other pixel formats are converted, once.
"""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt

from rtcodec.types import Planes


def planes_of(frame: av.VideoFrame) -> Planes:
    """
    Copy the planes of a decoded frame.

    Args:
        frame: Any pixel format; other than yuv420p is converted first.
    """
    if frame.format.name not in ("yuv420p", "yuvj420p"):
        frame = frame.reformat(format="yuv420p")
    width, height = frame.width, frame.height
    half = ((height + 1) // 2, (width + 1) // 2)
    y, u, v = (
        np.ascontiguousarray(_rows(frame, index)[: shape[0], : shape[1]])
        for index, shape in enumerate(((height, width), half, half))
    )
    return Planes(y=y, u=u, v=v)


def frame_of(planes: Planes) -> av.VideoFrame:
    """Copy planes into a new yuv420p frame."""
    frame = av.VideoFrame(planes.width, planes.height, "yuv420p")
    for index, plane in enumerate((planes.y, planes.u, planes.v)):
        _rows(frame, index)[: plane.shape[0], : plane.shape[1]] = plane
    return frame


def rgb_of(planes: Planes) -> npt.NDArray[np.uint8]:
    """Convert to uint8 [H, W, 3] for showing, as BT.601 limited range."""
    return np.asarray(frame_of(planes).to_ndarray(format="rgb24"), np.uint8)


def rotated(planes: Planes, quarter_turns: int) -> Planes:
    """Turn a picture counter-clockwise by multiples of 90 degrees."""
    y, u, v = (
        np.ascontiguousarray(np.rot90(plane, quarter_turns))
        for plane in (planes.y, planes.u, planes.v)
    )
    return Planes(y=y, u=u, v=v)


def _rows(frame: av.VideoFrame, index: int) -> npt.NDArray[np.uint8]:
    plane = frame.planes[index]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
