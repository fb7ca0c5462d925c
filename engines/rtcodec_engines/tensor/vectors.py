"""Vectors from the symbols of delta frames and back: `rtcodec.motion.vectors`, in batches."""

from typing import NamedTuple

import torch
from torch import Tensor

from rtcodec.motion.vectors import INTRA_CHANNEL

_SIDE = 4  # blocks along a tile


class Motion(NamedTuple):
    """What delta frames say of where they come from."""

    vectors: Tensor
    "int16 [N, h, w, 4, 2], any numbers."

    intra: Tensor
    "Blocks without a prediction, bool [N, h, w]."

    alone: Tensor
    "Tiles whose blocks do not overlap though they move, bool [N, Th, Tw]."


def vectors_of(symbols: Tensor) -> Motion:
    """Read the motion of frames from symbols int16 [N, h, w, 10]; vectors wrap at 16 bits."""
    n, h, w, channels = symbols.shape
    said = symbols.reshape(n, h // _SIDE, _SIDE, w // _SIDE, _SIDE, channels)
    own: dict[tuple[int, int], Tensor] = {}  # [N, Th, Tw, 4, 2] by place in the tile
    for row in range(_SIDE):
        for column in range(_SIDE):
            of_block = said[:, :, row, :, column]
            left, above = own.get((row, column - 1)), own.get((row - 1, column))
            first = of_block[..., :2]
            if left is not None and above is not None:
                corner = own[row - 1, column - 1]
                first = first + _median(left[..., 1, :], above[..., 2, :], corner[..., 3, :])
            elif left is not None:
                first = first + left[..., 1, :]
            elif above is not None:
                first = first + above[..., 2, :]
            right, below = (first + of_block[..., k : k + 2] for k in (3, 5))
            last = _median(right, below, first) + of_block[..., 7:9]
            own[row, column] = torch.stack((first, right, below, last), -2)
    rows = [torch.stack([own[i, j] for j in range(_SIDE)], 3) for i in range(_SIDE)]
    vectors = torch.stack(rows, 2)  # [N, Th, 4, Tw, 4, 4, 2]
    alone = (said[..., INTRA_CHANNEL] < 0).any(4).any(2)
    return Motion(vectors.reshape(n, h, w, 4, 2), symbols[..., INTRA_CHANNEL] > 0, alone)


def motion_symbols(motion: Motion) -> Tensor:
    """
    Invert `vectors_of`: int16 [N, h, w, 10], the last one 0.

    That a tile is alone is said by its first block with a prediction; there has to be one.
    """
    first, right, below, last = motion.vectors.unbind(-2)
    of_first = first - expected(motion.vectors)
    of_last = last - _median(right, below, first)
    n, h, w = motion.intra.shape
    tiles = motion.intra.reshape(n, h // _SIDE, _SIDE, w // _SIDE, _SIDE).transpose(2, 3)
    free = ~tiles.flatten(3)  # [N, Th, Tw, 16]
    speaks = free & (free.cumsum(-1) == 1) & motion.alone[..., None]
    places = speaks.unflatten(3, (_SIDE, _SIDE)).transpose(2, 3).reshape(n, h, w)
    said = (motion.intra.to(torch.int16) - places.to(torch.int16))[..., None]
    parts = (of_first, said, right - first, below - first, of_last, torch.zeros_like(said))
    return torch.cat(parts, -1)


def expected(vectors: Tensor) -> Tensor:
    """What is expected of each block's first vector from those before it, int16 [N, h, w, 2]."""
    n, h, w = vectors.shape[:3]
    tiles = vectors.reshape(n, h // _SIDE, _SIDE, w // _SIDE, _SIDE, 4, 2)
    # What is rolled in from the other side of a tile is in its first row or column: not asked for.
    left = tiles[..., 1, :].roll(1, 4)
    above = tiles[..., 2, :].roll(1, 2)
    corner = tiles[..., 3, :].roll((1, 1), (2, 4))
    place = torch.arange(_SIDE, device=vectors.device)
    has_above = (place > 0)[:, None, None, None]  # [4, 1, 1, 1]: of [.., 4, Tw, 4, 2]
    has_left = (place > 0)[None, None, :, None]
    nothing = torch.zeros_like(left)
    alone = torch.where(has_above, above, torch.where(has_left, left, nothing))
    both = torch.where(has_above & has_left, _median(left, above, corner), alone)
    return both.reshape(n, h, w, 2)


def quarter_grid(of_quarters: Tensor) -> Tensor:
    """[N, h, w, 4, ...] as they lie in a picture, [N, 2 h, 2 w, ...]."""
    n, h, w, _, *rest = of_quarters.shape
    split = of_quarters.reshape(n, h, w, 2, 2, *rest)
    return split.transpose(2, 3).reshape(n, 2 * h, 2 * w, *rest)


def of_blocks(grid: Tensor) -> Tensor:
    """Invert `quarter_grid`."""
    n, rows, columns, *rest = grid.shape
    split = grid.reshape(n, rows // 2, 2, columns // 2, 2, *rest)
    return split.transpose(2, 3).reshape(n, rows // 2, columns // 2, 4, *rest)


def spread_tiles(tiles: Tensor, times: int) -> Tensor:
    """Repeat what is of tiles [N, Th, Tw, ...] *times* down and across."""
    return tiles.repeat_interleave(times, 1).repeat_interleave(times, 2)


def _median(left: Tensor, above: Tensor, corner: Tensor) -> Tensor:
    """The middle one of left, above and left + above - corner, in 16 bits that wrap."""
    low, high = torch.minimum(left, above), torch.maximum(left, above)
    return torch.maximum(low, torch.minimum(high, left + above - corner))
