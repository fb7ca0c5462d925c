"""`Frames` with kernels in place of torch where those pay: the same integers."""

import torch
from torch import Tensor, nn

from rtcodec.bundle import Bundle
from rtcodec.models.layer import Block, is_int8
from rtcodec_engines.kernel.edge import smooth
from rtcodec_engines.kernel.motion import paint, predict, predict_and_paint
from rtcodec_engines.kernel.refinement import FusedRefine
from rtcodec_engines.kernel.sight import FusedSights
from rtcodec_engines.kernel.trunk import FusedBlock
from rtcodec_engines.tensor.frames import Frames
from rtcodec_engines.tensor.paint import Painted
from rtcodec_engines.tensor.predict import Pictures
from rtcodec_engines.tensor.vectors import Motion


class FusedFrames(Frames):
    """As `Frames`."""

    sights = FusedSights
    refinement = FusedRefine
    predict = staticmethod(predict)
    paint = staticmethod(paint)
    smooth = staticmethod(smooth)

    def __init__(self, bundle: Bundle, *, autocast: torch.dtype | None = None) -> None:
        """As `Frames`."""
        super().__init__(bundle, autocast=autocast)
        for trunk in (self.intra.analysis, self.intra.synthesis):
            blocks = [block for block in trunk.blocks if isinstance(block, Block)]
            if is_int8(trunk):
                trunk.blocks = nn.Sequential(*map(FusedBlock, blocks))

    def predict_and_paint(
        self, pictures: Pictures, rows: Tensor, motion: Motion, symbols: Tensor, still: Tensor,
        steps: Tensor,
    ) -> Painted:  # fmt: skip
        """As `Frames.predict_and_paint`, in one kernel for each plane."""
        return predict_and_paint(pictures, rows, motion, symbols, still, steps)
