"""A moving picture whose every frame says its number, and what each of them was."""

import asyncio
from fractions import Fraction

import av
import numpy as np
from aiortc import MediaStreamTrack

from rtcodec.types import Planes
from rtcodec_client.barcode import draw_barcode

WIDTH, HEIGHT = 320, 192


def coded_picture(number: int) -> Planes:
    """Return frame *number*: hills that move over a plain, within what RGB can show."""
    rows, columns = np.arange(HEIGHT)[:, None], np.arange(WIDTH)[None, :]
    hills = 40 * np.sin(rows / 11 + number / 9) * np.cos((columns - 2 * number) / 17)
    luma = 120 + hills + 20 * ((rows // 24 + columns // 32) % 2)
    chroma = 128 + 0.3 * hills[::2, ::2]
    y, u, v = (plane.astype(np.uint8) for plane in (luma, chroma, 256 - chroma))
    return draw_barcode(Planes(y, u, v), number)


class CodedTrack(MediaStreamTrack):
    """Gives `coded_picture`s from 0 on; none while it is held."""

    kind = "video"

    def __init__(self, *, fps: int) -> None:
        super().__init__()
        self.number = 0
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self._fps = fps

    async def recv(self) -> av.VideoFrame:
        """Give the next frame."""
        await asyncio.sleep(1 / self._fps)
        await self.may_go_on.wait()
        planes = coded_picture(self.number)
        joined = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)
        joined[:HEIGHT] = planes.y
        chroma = joined[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
        chroma[0], chroma[1] = planes.u, planes.v
        frame = av.VideoFrame.from_ndarray(joined, format="yuv420p")
        frame.pts, frame.time_base = self.number * 90_000 // self._fps, Fraction(1, 90_000)
        self.number += 1
        return frame
