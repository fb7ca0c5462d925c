"""Refining pictures once they are decoded: `rtcodec.motion.refine`, a batch at a time."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rtcodec.motion.refine import (
    CELL,
    CHROMA_PAIRS,
    CLASSES,
    LEVELS,
    LUMA_PAIRS,
    activity,
    clips,
    set_of,
    turned,
)
from rtcodec.motion.refinement import Refinement
from rtcodec.motion.steps import step_table
from rtcodec.types import QP_MAX
from rtcodec_engines.tensor.predict import FINE_MAX
from rtcodec_engines.tensor.vectors import spread_tiles

_TILE_CELLS, _TILE_PX, _FAR = 16, 64, 3


class Refine(nn.Module):
    """What one kind of a model's pictures is refined with, as tensors."""

    def __init__(self, refinement: Refinement) -> None:
        super().__init__()
        steps = step_table().tolist()
        sets = [set_of(qp) for qp in range(QP_MAX + 1)]
        turns = np.stack(
            [refinement.luma[:, :, np.argsort(turned(turn))] for turn in range(4)], 2
        )  # [9, 40, 4, 12, 4]
        self.sets: Tensor
        self.luma: Tensor
        self.chroma: Tensor
        self.clips: Tensor
        self.activity: Tensor
        for name, values in (
            ("sets", np.array(sets)),
            ("luma", turns.reshape(-1, len(LUMA_PAIRS) * 4).astype(np.int16)),
            ("chroma", refinement.chroma.reshape(len(refinement.chroma), 2, -1)),
            ("clips", np.array([[clips(step) for step in both] for both in steps], np.int32)),
            ("activity", np.array([activity(y, refinement.first) for y, _ in steps], np.int32)),
        ):
            self.register_buffer(name, torch.from_numpy(np.array(values)), persistent=False)

    def forward(self, planes: Sequence[Tensor], qps: Tensor) -> list[Tensor]:
        """
        Refine pictures.

        Args:
            planes: Integers [N, H, W].
            qps: Of the tiles, uint8 [N, Th, Tw]; those that are no qp stay as they are.

        Returns:
            int32 [N, H, W].
        """
        known = qps <= QP_MAX
        qp = qps.clamp(max=QP_MAX).long()
        clip, sets = self.clips[qp], self.sets[qp]  # [N, Th, Tw, 2, 4]
        wide = [_widened(plane.int(), _FAR) for plane in planes]
        kind = self._classes(wide[0], spread_tiles(self.activity[qp], _TILE_CELLS))
        weights = self.luma[spread_tiles(sets, _TILE_CELLS) * (CLASSES * 4) + kind]
        limits = spread_tiles(clip[..., 0, :], _TILE_CELLS)
        refined = [_refined(wide[0], LUMA_PAIRS, weights, limits, CELL)]
        for k in (0, 1):
            own = self.chroma[sets, k]
            refined.append(_refined(wide[1 + k], CHROMA_PAIRS, own, clip[..., 1, :], _TILE_PX // 2))
        sides = (_TILE_PX, _TILE_PX // 2, _TILE_PX // 2)
        return [
            torch.where(spread_tiles(known, side), new, plane.int())
            for new, plane, side in zip(refined, planes, sides, strict=True)
        ]

    @staticmethod
    def _classes(wide: Tensor, levels: Tensor) -> Tensor:
        """4 * class + turn of each cell, [N, H / 4, W / 4]; *wide* has 3 more on each side."""
        height, width = wide.shape[1] - 2, wide.shape[2] - 2

        def at(down: int, across: int) -> Tensor:
            return wide[:, 1 + down : 1 + down + height, 1 + across : 1 + across + width]

        twice = 2 * at(0, 0)
        across, down, falling, rising = (
            _cell_sums((twice - at(-i, -j) - at(i, j)).abs())
            for i, j in ((0, 1), (1, 0), (1, 1), (1, -1))
        )
        straight, other = torch.maximum(across, down), torch.minimum(across, down)
        slant, other_slant = torch.maximum(falling, rising), torch.minimum(falling, rising)
        is_slant = slant.long() * other > straight.long() * other_slant
        most = torch.where(is_slant, slant, straight)
        least = torch.where(is_slant, other_slant, other)
        strength = (most > 2 * least).long() + (2 * most > 9 * least)
        direction = strength + 2 * ((strength > 0) & ~is_slant)
        level = ((across + down)[..., None] > levels).sum(-1)
        turn = 2 * (rising > falling).long() + (down <= across)
        return (direction * LEVELS + level) * 4 + turn


def _cell_sums(of_samples: Tensor) -> Tensor:
    """Sums over each cell of 4x4 and the two samples around it; [N, H + 4, W + 4] goes in."""
    n, height, width = of_samples.shape
    quads = of_samples.reshape(n, height // CELL, CELL, width // CELL, CELL)
    sums = quads.sum((2, 4), dtype=torch.int32)
    return sums[:, :-1, :-1] + sums[:, :-1, 1:] + sums[:, 1:, :-1] + sums[:, 1:, 1:]


def _refined(
    wide: Tensor, pairs: Sequence[tuple[int, int]], weights: Tensor, limits: Tensor, side: int
) -> Tensor:
    """
    One plane.

    Args:
        wide: int32 [N, H + 6, W + 6].
        pairs: Down and across to the neighbours.
        weights: int16 [N, H / side, W / side, pairs * 4].
        limits: int32 [N, H / side, W / side, 4].
        side: Of what has the same weights.
    """
    n, height, width = wide.shape[0], wide.shape[1] - 2 * _FAR, wide.shape[2] - 2 * _FAR
    shape = (n, height // side, side, width // side, side)

    def at(down: int, across: int) -> Tensor:
        rows = slice(_FAR + down, _FAR + down + height)
        return wide[:, rows, _FAR + across : _FAR + across + width].reshape(shape)

    def of_cells(values: Tensor) -> Tensor:
        return values[:, :, None, :, None]

    own = at(0, 0)
    sums = torch.zeros_like(own)
    for t, (down, across) in enumerate(pairs):
        one, other = (4 * (at(s * down, s * across) - own) for s in (1, -1))
        for k in range(4):
            most = of_cells(limits[..., k])
            both = one.clamp(-most, most) + other.clamp(-most, most)
            sums = sums + ((both * of_cells(weights[..., 4 * t + k]).int() + (1 << 14)) >> 15)
    wrapped = sums.to(torch.int16).int()  # as C, whose sums have 16 bits
    return (own + ((wrapped + 2) >> 2)).clamp(0, FINE_MAX).reshape(n, height, width)


def _widened(plane: Tensor, by: int) -> Tensor:
    """The samples at the edges repeated *by* more on all sides."""
    height, width = plane.shape[1:]
    y = torch.arange(-by, height + by, device=plane.device).clamp(0, height - 1)
    x = torch.arange(-by, width + by, device=plane.device).clamp(0, width - 1)
    return plane[:, y[:, None], x]
