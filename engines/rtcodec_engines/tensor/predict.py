"""
What vectors bring from stored pictures: `rtcodec.motion.predict`, a batch at a time.

Filters are always applied both ways: with the one tap of 64 that moves nothing, the sums of the
second pass come out as those of the first, so the four cases of SPEC.md 9.2 are one.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from rtcodec.motion.predict import CHROMA_TAPS, GREY, LUMA_TAPS
from rtcodec_engines.tensor.vectors import quarter_grid

FINE_MAX = 4080
PLANE_SCALES = (1, 2, 2)
"Samples of luma for one of a plane, each way: y, u, v."


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Stored pictures of one padded size, by row; each plane int16 [rows, H, W]."""

    planes: tuple[Tensor, Tensor, Tensor]

    qps: Tensor
    "At which qp each tile was last coded, uint8 [rows, Th, Tw]; 255 where nothing is to refine."


def predict(pictures: Pictures, rows: Tensor, vectors: Tensor, intra: Tensor) -> list[Tensor]:
    """
    Predict frames.

    Args:
        pictures: What from.
        rows: Which of them for each frame, int64 [N].
        vectors: int16 [N, h, w, 4, 2], any numbers.
        intra: bool [N, h, w]; those blocks are grey.

    Returns:
        Planes int32 [N, H, W], 0..4080.
    """
    grid = quarter_grid(vectors).int()  # [N, 2 h, 2 w, 2]
    out = []
    for plane, scale in zip(pictures.planes, PLANE_SCALES, strict=True):
        side, taps = 8 // scale, _taps(plane.device, scale)
        moved = _moved(plane, rows, grid, side, 2 + (scale > 1), taps)
        grey = intra.repeat_interleave(2 * side, 1).repeat_interleave(2 * side, 2)
        out.append(torch.where(grey, GREY, moved))
    return out


def _moved(
    plane: Tensor, rows: Tensor, grid: Tensor, side: int, shift: int, taps: Tensor
) -> Tensor:
    """One plane; vectors are in 1 / 2^shift of its samples, taps int32 [2^shift, K]."""
    _, height, width = plane.shape
    n, down, across, _ = grid.shape
    need = side + taps.shape[1] - 1
    before = taps.shape[1] // 2 - 1
    whole, part = grid >> shift, (grid & ((1 << shift) - 1)).long()
    reach = torch.arange(need, device=plane.device) - before
    tops = torch.arange(down, device=plane.device)[:, None] * side + whole[..., 1]
    lefts = torch.arange(across, device=plane.device) * side + whole[..., 0]
    y = (tops[..., None] + reach).clamp(0, height - 1)  # [N, 2 h, 2 w, need]
    x = (lefts[..., None] + reach).clamp(0, width - 1)
    start = rows[:, None, None, None] * height
    at = (start + y)[..., :, None] * width + x[..., None, :]
    patch = plane.view(-1)[at].int()
    lines = weighted(patch, taps[part[..., 0]], side) >> 4
    sums = weighted(lines.transpose(-1, -2), taps[part[..., 1]], side).transpose(-1, -2) >> 6
    samples = ((sums + 2) >> 2).clamp(0, FINE_MAX)  # [N, 2 h, 2 w, side, side]
    return samples.transpose(2, 3).reshape(n, down * side, across * side)


def weighted(lines: Tensor, taps: Tensor, side: int) -> Tensor:
    """Sums along the last axis of *lines* [..., L, need], with taps [..., K]: [..., L, side]."""
    sums = lines[..., :side] * taps[..., 0, None, None]
    for k in range(1, taps.shape[-1]):
        sums = sums + lines[..., k : k + side] * taps[..., k, None, None]
    return sums


@cache
def _taps(device: torch.device, scale: int) -> Tensor:
    return torch.tensor(LUMA_TAPS if scale == 1 else CHROMA_TAPS, dtype=torch.int32, device=device)
