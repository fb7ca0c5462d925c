"""
What vectors bring from stored pictures: `rtcodec.motion.predict`, a batch at a time.

Filters are always applied both ways: with the one tap of 64 that moves nothing, the sums of the
second pass come out as those of the first, so the four cases of SPEC.md 9.2 are one. Tiles that do
not overlap are computed as if they did, with weights of 0.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from rtcodec.motion.predict import CHROMA_TAPS, CHROMA_WEIGHTS, GREY, LUMA_TAPS, LUMA_WEIGHTS
from rtcodec_engines.tensor.vectors import Motion, quarter_grid, spread_tiles

FINE_MAX = 4080
PLANE_SCALES = (1, 2, 2)
"Samples of luma for one of a plane, each way: y, u, v."


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Stored pictures of one padded size, by row; each plane int16 [rows, H, W]."""

    planes: tuple[Tensor, Tensor, Tensor]

    qps: Tensor
    "At which qp each tile was last coded, uint8 [rows, Th, Tw]; 255 where nothing is to refine."


def predict(pictures: Pictures, rows: Tensor, motion: Motion) -> list[Tensor]:
    """
    Predict frames.

    Args:
        pictures: What from.
        rows: Which of them for each frame, int64 [N].
        motion: Of the frames.

    Returns:
        Planes int32 [N, H, W], 0..4080.
    """
    grid = quarter_grid(motion.vectors).int()  # [N, 2 h, 2 w, 2]
    intra = spread_tiles(motion.intra, 2)
    overlaps = spread_tiles(overlapping(motion), 8)
    out = []
    for plane, scale in zip(pictures.planes, PLANE_SCALES, strict=True):
        moved = _Moved(plane, rows, 8 // scale, 2 + (scale > 1), _taps(plane.device, scale))
        parts = moved.parts(grid, Box(0, 0, moved.side, moved.side))
        parts = _overlapped(moved, parts, grid, intra, overlaps)
        parts = torch.where(intra[..., None, None], GREY, parts)
        n, down, across, side, _ = parts.shape
        out.append(parts.transpose(2, 3).reshape(n, down * side, across * side))
    return out


def overlapping(motion: Motion) -> Tensor:
    """Which tiles have vectors, and are not alone, bool [N, Th, Tw]."""
    moves = (motion.vectors != 0).flatten(3).any(3)
    tiles = moves.unflatten(2, (-1, 4)).unflatten(1, (-1, 4))
    return tiles.any(4).any(2) & ~motion.alone


class Box(NamedTuple):
    """Some of the samples of a part, from its corner."""

    top: int
    left: int
    height: int
    width: int


class _Moved:
    """A plane of stored pictures, and what vectors bring of it."""

    def __init__(self, plane: Tensor, rows: Tensor, side: int, shift: int, taps: Tensor) -> None:
        """Vectors are in 1 / 2^shift of its samples; taps int32 [2^shift, K]."""
        self.side = side
        self._plane, self._rows, self._shift, self._taps = plane, rows, shift, taps

    def parts(self, grid: Tensor, box: Box) -> Tensor:
        """Samples in a box of each part, int32 [N, 2 h, 2 w, height, width]."""
        _, height, width = self._plane.shape
        _, down, across, _ = grid.shape
        device, beyond = grid.device, self._taps.shape[1] - 1
        before = self._taps.shape[1] // 2 - 1
        whole = grid >> self._shift
        part = (grid & ((1 << self._shift) - 1)).long()
        tops = torch.arange(down, device=device)[:, None] * self.side + box.top + whole[..., 1]
        lefts = torch.arange(across, device=device) * self.side + box.left + whole[..., 0]
        y = tops[..., None] + torch.arange(-before, box.height + beyond - before, device=device)
        x = lefts[..., None] + torch.arange(-before, box.width + beyond - before, device=device)
        y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)  # [N, 2 h, 2 w, need]
        start = self._rows[:, None, None, None] * height
        at = (start + y)[..., :, None] * width + x[..., None, :]
        patch = self._plane.view(-1)[at].int()
        lines = weighted(patch, self._taps[part[..., 0]], box.width) >> 4
        turned = lines.transpose(-1, -2)
        sums = weighted(turned, self._taps[part[..., 1]], box.height).transpose(-1, -2) >> 6
        return ((sums + 2) >> 2).clamp(0, FINE_MAX)


def _overlapped(
    moved: _Moved, parts: Tensor, grid: Tensor, intra: Tensor, overlaps: Tensor
) -> Tensor:
    """Parts blended along their sides with what the vectors beside them bring."""
    side, half = moved.side, moved.side // 2
    weights = LUMA_WEIGHTS if half == 4 else CHROMA_WEIGHTS
    sums = torch.zeros_like(parts)
    for axis, back in ((2, True), (2, False), (1, True), (1, False)):  # left, right, above, below
        by = 1 if back else -1
        away = 0 if back else half
        box = Box(0, away, side, half) if axis == 2 else Box(away, 0, half, side)
        other = moved.parts(grid.roll(by, axis), box)
        inside = torch.ones_like(intra)
        inside.select(axis, 0 if back else -1).fill_(False)
        counts = (overlaps & inside & ~intra.roll(by, axis))[..., None, None]
        near = (slice(box.top, box.top + box.height), slice(box.left, box.left + box.width))
        own = parts[..., near[0], near[1]]
        for deep in range(half):
            weight = weights[deep if back else half - 1 - deep]
            line = (..., deep) if axis == 2 else (..., deep, slice(None))
            sums[..., near[0], near[1]][line] += torch.where(counts, weight * (other - own), 0)[
                line
            ]
    return (parts + ((sums + 16) >> 5)).clamp(0, FINE_MAX)


def weighted(lines: Tensor, taps: Tensor, side: int) -> Tensor:
    """Sums along the last axis of *lines* [..., L, need], with taps [..., K]: [..., L, side]."""
    sums = lines[..., :side] * taps[..., 0, None, None]
    for k in range(1, taps.shape[-1]):
        sums = sums + lines[..., k : k + side] * taps[..., k, None, None]
    return sums


@cache
def _taps(device: torch.device, scale: int) -> Tensor:
    return torch.tensor(LUMA_TAPS if scale == 1 else CHROMA_TAPS, dtype=torch.int32, device=device)
