"""
Filters by class (`rtcodec.motion.refine`) as torch has them, so that gradients find their weights.

What a sample gets is linear in the weights; which class a cell is of, and what its differences are
cut to, is of the picture alone. Luma only. In floats: the roundings of C are not here.

Dims: `N` crops, `H W` samples, `h w` cells of 4x4, `K` weights of a class (12 pairs x 4 limits).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rtcodec.codec.tile_qp import TileQp
from rtcodec.motion.native import FINE
from rtcodec.motion.refine import (
    CELL,
    CLASSES,
    CLIP_MAX,
    CLIPS,
    LUMA_PAIRS,
    SETS,
    WEIGHT_BITS,
    activity,
    classes,
    set_of,
    turned,
)
from rtcodec.motion.steps import step_table
from rtcodec.types import QP_MAX, TILE_PX

MARGIN = 3
"Samples beside a crop that its neighbours' differences reach."

_TURNS = 4
_LIMIT_MAX = CLIP_MAX / (4 * FINE)
_SET_OF = np.array([set_of(qp) for qp in range(QP_MAX + 1)])
_STEP_OF = (step_table()[:, 0] / FINE).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Classified:
    """One plane of luma, and of which class its cells are."""

    wide: NDArray[np.uint8]
    "[H + 6, W + 6]: edges repeated by `MARGIN`."

    kinds: NDArray[np.int64]
    "[h, w]: which row of `ClassFilters.table`."

    steps: NDArray[np.float32]
    "[h, w], of the quantiser, in sample values."

    @classmethod
    def of(cls, luma: NDArray[np.uint8], qps: TileQp, first: int) -> "Classified":
        """
        Look at a plane, whose sides are cut to multiples of `CELL`.

        Args:
            luma: [H, W].
            qps: Of its tiles.
            first: Of the levels of activity, as `Refinement` has it.
        """
        height, width = (side // CELL * CELL for side in luma.shape)
        plane = luma[:height, :width]
        cells = TILE_PX // CELL
        of_cells = qps.repeat(cells, 0).repeat(cells, 1)[: height // CELL, : width // CELL]
        kinds = np.empty(of_cells.shape, np.int64)
        for qp in np.unique(of_cells):
            levels = activity(int(step_table()[qp, 0]), first)
            kind, turn = classes(plane.astype(np.uint16) * FINE, levels)
            there = of_cells == qp
            kinds[there] = ((_SET_OF[qp] * CLASSES + kind) * _TURNS + turn)[there]
        return cls(np.pad(plane, MARGIN, mode="edge"), kinds, _STEP_OF[of_cells])

    def crop(self, top: int, left: int, side: int) -> "Classified":
        """Cut out a square; its place and *side* are multiples of `CELL`."""
        cells = np.s_[top // CELL : (top + side) // CELL, left // CELL : (left + side) // CELL]
        wide = self.wide[top : top + side + 2 * MARGIN, left : left + side + 2 * MARGIN]
        return Classified(wide, self.kinds[cells], self.steps[cells])


class ClassFilters(nn.Module):
    """Weights of all classes and qp; what qp share is learnt once."""

    def __init__(self) -> None:
        super().__init__()
        shape = (CLASSES, len(LUMA_PAIRS), len(CLIPS))
        self.shared = nn.Parameter(torch.zeros(shape))
        self.own = nn.Parameter(torch.zeros(SETS, *shape))
        weight_of_pair = np.array([np.argsort(turned(turn)) for turn in range(_TURNS)])
        self.register_buffer("weight_of_pair", torch.from_numpy(weight_of_pair), persistent=False)

    def weights(self) -> NDArray[np.int16]:
        """As `Refinement` has them, [9, 40, 12, 4]."""
        whole = ((self.shared + self.own).detach().numpy() * (1 << WEIGHT_BITS)).round()
        return np.ascontiguousarray(whole.clip(-32767, 32767), np.int16)

    def table(self) -> Tensor:
        """Weights of pairs as they lie in a picture, of every set, class and turn, [1440, K]."""
        weights = (self.shared + self.own).flatten(0, 1)  # [360, 12, 4]
        turns: Tensor = weights[:, self.weight_of_pair]  # type: ignore[index]
        return turns.reshape(-1, len(LUMA_PAIRS) * len(CLIPS))

    def forward(self, wide: Tensor, kinds: Tensor, steps: Tensor) -> Tensor:
        """
        Return luma filtered, float [N, 1, H, W], neither rounded nor clipped.

        Args:
            wide: float [N, H + 6, W + 6], sample values.
            kinds: int64 [N, h, w].
            steps: float [N, h, w].
        """
        with torch.no_grad():
            differences = cut_differences(wide, steps)
        of_cells = self.table()[kinds.flatten()][:, :, None]
        sums = torch.bmm(differences, of_cells).reshape(*kinds.shape, CELL, CELL)
        own = wide[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
        return (own + sums.transpose(2, 3).reshape(own.shape))[:, None]


def cut_differences(wide: Tensor, steps: Tensor) -> Tensor:
    """What weights multiply, by cell, [N h w, 16, K]; arguments as of `ClassFilters.forward`."""
    n, height, width = wide.shape[0], *(side - 2 * MARGIN for side in wide.shape[1:])
    own = wide[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    of_samples = steps.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)
    limits = [(of_samples * (clip / 32)).clamp_max(_LIMIT_MAX) for clip in CLIPS]
    parts = []
    for down, across in LUMA_PAIRS:
        ends = [
            wide[:, MARGIN + s * down :][:, :height, MARGIN + s * across :][:, :, :width] - own
            for s in (1, -1)
        ]
        for limit in limits:
            both = sum(torch.minimum(torch.maximum(end, -limit), limit) for end in ends)
            assert isinstance(both, Tensor)
            cells = both.reshape(n, height // CELL, CELL, width // CELL, CELL)
            parts.append(cells.transpose(2, 3).reshape(-1, CELL * CELL))
    return torch.stack(parts, 2)
