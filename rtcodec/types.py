"""
Small values shared by every layer: pictures, layers, sizes and their limits.

Dims: `H W` pixels, `Th Tw` rows and columns of tiles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TILE_PX = 64
"Side of a tile, the unit that slices and the entropy coder work on. # spec 2"

QP_MAX = 63
"Coarsest quantiser; 0 is the finest. # spec 2"

COPY_CHANNELS = 8
"Of symbols, behind those of a model, where a frame has copied parts. # spec 9.7"

MAX_SIDE_PX = 16384
"Largest width and largest height of a frame. # spec 2"

MAX_RUNGS = 16
"A rung is one of the rates or sizes that a stream is coded at. # spec 4.3"


def tile_grid(width: int, height: int) -> tuple[int, int]:
    """
    Return the rows and columns of 64x64 tiles that cover a frame.

    Args:
        width: Pixels, 1 to 16384.
        height: Pixels, 1 to 16384.
    """
    return -(-height // TILE_PX), -(-width // TILE_PX)


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """One 8-bit yuv420p picture of any size, planes cropped to it."""

    y: NDArray[np.uint8]
    "Luma, uint8 [H, W]."

    u: NDArray[np.uint8]
    "First chroma plane, uint8 [ceil(H / 2), ceil(W / 2)]."

    v: NDArray[np.uint8]
    "Second chroma plane, uint8 [ceil(H / 2), ceil(W / 2)]."

    def __post_init__(self) -> None:
        """
        Check the planes against each other.

        Raises:
            ValueError: If a plane is not uint8, is empty or too large, or the
                chroma planes do not fit the luma plane.
        """
        for plane in (self.y, self.u, self.v):
            if plane.dtype != np.uint8 or plane.ndim != 2:
                raise ValueError(f"a plane is uint8 [H, W], not {plane.dtype} {plane.shape}")
        height, width = self.y.shape
        if not (1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX):
            raise ValueError(f"{width}x{height} is outside 1x1 to {MAX_SIDE_PX}x{MAX_SIDE_PX}")
        chroma = (-(-height // 2), -(-width // 2))
        if self.u.shape != chroma or self.v.shape != chroma:
            raise ValueError(
                f"chroma planes {self.u.shape} and {self.v.shape} do not fit {width}x{height}"
            )

    @property
    def width(self) -> int:
        """Width of the luma plane in pixels."""
        return int(self.y.shape[1])

    @property
    def height(self) -> int:
        """Height of the luma plane in pixels."""
        return int(self.y.shape[0])


@dataclass(frozen=True, slots=True, order=True)
class LayerId:
    """Which of the parallel codings of one stream a packet belongs to."""

    rung: int = 0
    "Rate or size of the coding, 0 (the finest) to 15."

    temporal: int = 0
    "0 is needed by all; layer n may be dropped where only those below are wanted. 0 to 15."
