"""
What a network that takes coding artefacts out is made of, and what that costs. No torch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtcodec.motion.transform import dct_matrix

SIDE = 8
"Of a block, and of what a place of the luma trunk stands for."

LEVELS = 128
"Of luma's 64 coefficients, row by row, then of chroma's 64."

CHROMA = 32
"Channels of the embedding that come from chroma."

CHROMA_READ = 48
"Channels of the last block that chroma's head reads, from four places at once."

LED = 64
"Channels between the levels and what they lead."

STEP_SCALE = 0.1
"""Of what heads and the levels' lead say: Muon's steps are all of one size, and corrections are
small in levels. Without it the first hundreds of steps make pictures worse."""

RATIO_LIMIT = 2.0
"Coefficients are read in steps up to this: whether one is zero says more than how large it is."


@dataclass(frozen=True, slots=True)
class Shape:
    """What a network is made of."""

    channels: int = 128
    blocks: int = 5

    limit: float = 0.5
    "Most that is added to a coefficient, in levels; a quantiser that rounds is off by 0.5."


def block_transform() -> NDArray[np.float64]:
    """Return the orthonormal 8x8 DCT as a matrix [coefficient, sample], both row by row."""
    matrix = dct_matrix(SIDE)
    return np.kron(matrix, matrix).astype(np.float64)


def macs_per_pixel(shape: Shape) -> float:
    """Products for a pixel, those for chroma and for both transforms counted."""
    c, n = shape.channels, SIDE**2
    luma = 4 * n * (c - CHROMA) + n * (c - CHROMA) + 2 * n * n + n * c
    chroma = 8 * n * 4 * CHROMA + 2 * n * 4 * CHROMA + 4 * n * n + 4 * CHROMA_READ * 2 * n
    blocks = shape.blocks * (5 * c * c + 9 * c)
    return (luma + chroma / 4 + blocks) / n
