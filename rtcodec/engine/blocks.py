"""
Frames as the networks take and give them: one row of 384 samples for every 16x16 block.

    blocks [h16, w16, 384] = 256 of luma row by row, 64 of u, 64 of v

Planes here are padded: uint8 [H, W] and twice [H / 2, W / 2], H and W multiples of 16.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

BLOCK_SAMPLES = 384

_Sample = TypeVar("_Sample", bound=np.generic)

_PARTS = ((16, 0), (8, 256), (8, 320))
"Side of a plane's blocks, and where its samples start."


def fill_blocks(planes: Sequence[NDArray[np.uint8]], blocks: NDArray[Any]) -> None:
    """Write *planes*, y, u and v, into *blocks* of any dtype."""
    for plane, part, (side, _) in zip(planes, _parts(blocks), _PARTS, strict=True):
        rows, columns = blocks.shape[:2]
        part[...] = plane.reshape(rows, side, columns, side).transpose(0, 2, 1, 3)


def planes_of(
    blocks: NDArray[_Sample],
) -> tuple[NDArray[_Sample], NDArray[_Sample], NDArray[_Sample]]:
    """Copy *blocks* of any dtype into new planes y, u and v."""
    rows, columns = blocks.shape[:2]
    y, u, v = (
        part.transpose(0, 2, 1, 3).reshape(rows * side, columns * side)
        for part, (side, _) in zip(_parts(blocks), _PARTS, strict=True)
    )
    return y, u, v


def _parts(blocks: NDArray[Any]) -> list[NDArray[Any]]:
    """Views of each plane's samples, [h16, w16, side, side]."""
    rows, columns = blocks.shape[:2]
    return [
        blocks[..., start : start + side * side].reshape(rows, columns, side, side)
        for side, start in _PARTS
    ]
