"""
Previews of studies: a still of the neural codec, of a view in 8 bits, not for diagnosis.

Made smaller by whole factors until it is small enough to be there at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.packet import Description, Geometry, write_packet
from rtcodec.bundle import Bundle
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.slicing import Slicing
from rtcodec.dicom.display import Display, usual_window, view
from rtcodec.dicom.picture import Picture
from rtcodec.engine.api import Engine
from rtcodec.media.color import gray_to_planes, rgb_to_planes
from rtcodec.types import QP_MAX, Planes

MOST_BYTES: Final = 11_000
"Of one: 44 ms at 2 Mb/s, and what a channel lets out at once."

MOST_PIXELS: Final = 1 << 19
LEAST_SIDE: Final = 128
"A smaller picture's coarse steps are there as soon."

SHARE: Final = 0.035
"Of the bytes of the exact frame, at most."

_FINEST_QP: Final = 16


@dataclass(frozen=True, slots=True)
class PreviewStill:
    """One preview."""

    width: int
    height: int
    window: tuple[float, float]
    packets: tuple[bytes, ...]

    @property
    def size_bytes(self) -> int:
        """Of all packets."""
        return sum(map(len, self.packets))


class PreviewMaker:
    """Makes previews with one model."""

    def __init__(self, engine: Engine, bundle: Bundle) -> None:
        self._engine = engine
        self._bundle = bundle
        self._packer = FramePacker(
            bundle.entropy_tables,
            Slicing(),
            delta_tables=bundle.delta_tables,
            spatial_tables=bundle.spatial_tables,
        )

    def make(
        self, picture: Picture, frame: int, display: Display, *, max_bytes: int
    ) -> PreviewStill | None:
        """
        Return a preview, or None where it would not pay or there is no view in 8 bits.

        Args:
            picture: Gray of any depth, or RGB in 8 bits.
            frame: Which of its frames.
            display: How it is shown.
            max_bytes: Of the preview.
        """
        samples = picture.frames[frame]
        window = (0.0, 255.0)
        if samples.shape[2] == 1 and display.photometric != "PALETTE COLOR":
            window = usual_window(samples, display)
            shown = view(samples, display, window)
            to_planes: Callable[[NDArray[np.uint8]], Planes] = gray_to_planes
        elif samples.shape[2] == 3 and picture.bits == 8 and display.photometric in (None, "RGB"):
            shown, to_planes = samples.view(np.uint8), rgb_to_planes
        else:
            return None
        limit = min(max_bytes, MOST_BYTES)
        factor = 1
        while min(shown.shape[:2]) // factor >= LEAST_SIDE:
            small = shrink(shown, factor)
            if small.shape[0] * small.shape[1] <= MOST_PIXELS:
                packets = self._encode(to_planes(small), limit)
                if packets is not None:
                    return PreviewStill(small.shape[1], small.shape[0], window, packets)
            factor *= 2
        return None

    def _encode(self, planes: Planes, limit: int) -> tuple[bytes, ...] | None:
        """Return the packets of the finest qp that fits, or None if none does."""
        tag = int.from_bytes(self._bundle.model_id[:2], "big")
        description = Description(tag, Geometry(planes.width, planes.height))
        encoder = FrameEncoder(
            self._engine,
            self._packer,
            planes.width,
            planes.height,
            description=description,
            neural=False,
        )
        best, least, most = None, _FINEST_QP, QP_MAX
        try:
            while least <= most:
                qp = (least + most) // 2
                coded = encoder.encode(planes, qp=qp, pts=0, keyframe=True)
                packets = tuple(write_packet(packet) for packet in coded.unit.packets)
                if sum(map(len, packets)) <= limit:
                    best, most = packets, qp - 1
                else:
                    least = qp + 1
        finally:
            encoder.close()
        return best


def shrink(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return means of *factor* x *factor* pixels of [H, W] or [H, W, C], edges repeated."""
    if factor == 1:
        return pixels
    height, width = pixels.shape[:2]
    rest = [(0, -height % factor), (0, -width % factor)] + [(0, 0)] * (pixels.ndim - 2)
    padded = np.pad(pixels, rest, mode="edge").astype(np.float32)
    cells = padded.reshape(
        padded.shape[0] // factor, factor, padded.shape[1] // factor, factor, *pixels.shape[2:]
    )
    means: NDArray[np.uint8] = np.round(cells.mean(axis=(1, 3))).astype(np.uint8)
    return means
