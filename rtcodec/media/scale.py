"""
Pictures at other sizes, by FFmpeg's scaler.

Lanczos, three lobes: on a call clip within 55 dB of the same filter in floats, and the sharpest of
what costs under half a millisecond for 640x360 (docs/adr/026). 8-bit 4:2:0 in and out; range and
matrix are left as they are.
"""

from collections import OrderedDict
from typing import Final, cast

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from rtcodec.types import Planes

_FILTER: Final = Interpolation.LANCZOS


_KEPT: Final = 8


class PlanesScaler:
    """Scales pictures; keeps the filters of the last few sizes. For one thread at a time."""

    def __init__(self) -> None:
        self._filters: OrderedDict[tuple[int, ...], VideoReformatter] = OrderedDict()

    def scale(self, planes: Planes, width: int, height: int) -> Planes:
        """
        Return a picture at *width* x *height*.

        One that has this size is returned as it is.
        """
        if (planes.width, planes.height) == (width, height):
            return planes
        key = (planes.width, planes.height, width, height)
        reformatter = self._filters.pop(key, None) or VideoReformatter()
        self._filters[key] = reformatter
        if len(self._filters) > _KEPT:
            self._filters.popitem(last=False)
        scaled = reformatter.reformat(picture_of(planes), width, height, interpolation=_FILTER)
        return planes_of_picture(scaled)


def picture_of(planes: Planes) -> av.VideoFrame:
    """Copy planes into a yuv420p picture."""
    picture = av.VideoFrame(planes.width, planes.height, "yuv420p")
    for plane, source in zip(picture.planes, (planes.y, planes.u, planes.v), strict=True):
        rows = np.frombuffer(cast(bytearray, plane), np.uint8).reshape(-1, plane.line_size)
        rows[: source.shape[0], : source.shape[1]] = source
    return picture


def planes_of_picture(picture: av.VideoFrame) -> Planes:
    """
    View a picture's planes without copying them.

    Raises:
        ValueError: If it is not planar 4:2:0 of 8 bits, or too large.
    """
    if picture.format.name not in ("yuv420p", "yuvj420p"):
        raise ValueError(f"{picture.format.name} is not yuv420p")
    planes: list[NDArray[np.uint8]] = []
    for plane in picture.planes:
        rows = np.frombuffer(cast(bytes, plane), np.uint8).reshape(-1, plane.line_size)
        planes.append(rows[: plane.height, : plane.width])
    y, u, v = planes
    return Planes(y, u, v)
