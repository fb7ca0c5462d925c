"""
A network that takes coding artefacts, or noise, out of a picture, told how coarse these are.

    y u v (8x8 with 4 around) --lapped--+
    DCT of 8x8 in steps, bounded -------+--> embed [C @ 1/8] --blocks, led by the levels--> head
                                                                                             |
    y u v + IDCT of (head, bounded, in steps) <----------------------------------------------+

DnCNN's idea (Zhang et al., arXiv 1608.03981), a residual that a network finds, where JPEG lost it:
per coefficient of the 8x8 blocks, in units of the quantiser's step. What is taken back is bounded,
so that of a JPEG no coefficient leaves the interval that its integer stands for.

Everything runs at 1/8 for luma and for chroma of half size, on the grid of the blocks. Levels are
what the error of each coefficient is in proportion to: a quantiser's steps, or sigma for noise.
Networks only: no files, no data. Dims: `h w` = H/8 W/8.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtcodec.models.layer import Block, conv1x1, in_float32
from rtcodec.models.restorer_shape import (
    CHROMA,
    CHROMA_READ,
    LED,
    LEVELS,
    RATIO_LIMIT,
    SIDE,
    STEP_SCALE,
    Shape,
    block_transform,
)


class Restorer(nn.Module):
    """Planes and levels to better planes. Starts as the identity."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        c = shape.channels
        self.lapped = nn.Conv2d(SIDE**2, c - CHROMA, 2)
        self.ratio = conv1x1(SIDE**2, c - CHROMA)
        self.chroma_lapped = nn.Conv2d(2 * SIDE**2, 4 * CHROMA, 2)
        self.chroma_ratio = conv1x1(2 * SIDE**2, 4 * CHROMA)
        self.lead_in = conv1x1(LEVELS, LED)
        self.lead = conv1x1(LED, 2 * c * shape.blocks, zero=True)
        self.blocks = nn.ModuleList(Block(c) for _ in range(shape.blocks))
        self.head = conv1x1(c, SIDE**2, zero=True)
        self.chroma_head = conv1x1(4 * CHROMA_READ, 2 * SIDE**2, zero=True)
        self.transform: Tensor
        transform = torch.from_numpy(block_transform()).float()
        self.register_buffer("transform", transform, persistent=False)
        with torch.no_grad():  # brightness is nothing to go by, and bf16 has no room for it
            for lapped, planes in ((self.lapped, 1), (self.chroma_lapped, 2)):
                weight = lapped.weight.view(len(lapped.weight), planes, -1)
                weight -= weight.mean(2, keepdim=True)

    def forward(
        self, y: Tensor, u: Tensor, v: Tensor, levels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """
        Planes without what the coding did to them, as far as the network can tell.

        Args:
            y: [N, 1, H, W] float, 0..255; sides multiples of 16.
            u: [N, 1, H/2, W/2]; so is *v*.
            v: Second chroma plane.
            levels: [N, 128, 1, 1], or a map [N, 128, h, w] for luma's places; 8-bit samples.

        Returns:
            Planes of the same sizes, not rounded, not clipped.
        """
        luma, chroma = torch.split(levels, SIDE**2, 1)
        if chroma.shape[2] > 1:
            chroma = F.avg_pool2d(chroma, 2)
        pair = torch.cat((u, v), 1)
        chroma = chroma.repeat(1, 2, 1, 1)
        x = torch.cat(
            (
                self._embed(y, luma, self.lapped, self.ratio),
                F.pixel_shuffle(
                    self._embed(pair, chroma, self.chroma_lapped, self.chroma_ratio), 2
                ),
            ),
            1,
        )
        led = STEP_SCALE * self.lead(F.leaky_relu(self.lead_in(levels.log2() / 4), 0.1))
        led = torch.split(led, self.shape.channels, 1)
        for block, gain, bias in zip(self.blocks, led[::2], led[1::2], strict=True):
            x = block(x * (1 + gain) + bias)
        read = F.pixel_unshuffle(x[:, :CHROMA_READ], 2)
        y = y + self._correction(in_float32(self.head, x), luma)
        u, v = (pair + self._correction(in_float32(self.chroma_head, read), chroma)).chunk(2, 1)
        return y, u, v

    def _embed(self, planes: Tensor, levels: Tensor, lapped: nn.Module, ratio: nn.Module) -> Tensor:
        """Planes [N, K, H, W] -> [N, C, h, w]: samples with 4 around, coefficients in steps."""
        around = F.pixel_unshuffle(F.pad(planes, (4, 4, 4, 4), mode="replicate"), SIDE)
        ratios = (transformed(planes, self.transform) / levels).clamp(-RATIO_LIMIT, RATIO_LIMIT)
        return in_float32(lapped, around / 64) + ratio(ratios)

    def _correction(self, head: Tensor, levels: Tensor) -> Tensor:
        """Coefficients in levels [N, K * 64, h, w] -> samples [N, K, H, W]."""
        limit = self.shape.limit
        bounded = (STEP_SCALE * head).clamp(-limit, limit) * levels
        return transformed_back(bounded, self.transform)


def transformed(planes: Tensor, transform: Tensor) -> Tensor:
    """Planes [N, K, H, W] 0..255 -> [N, K * 64, h, w], coefficients of their 8x8 blocks."""
    with torch.autocast(planes.device.type, enabled=False):
        blocks = F.pixel_unshuffle(planes - 128, SIDE)
        parts = torch.stack(torch.split(blocks, SIDE**2, 1), 1)  # [N, K, 64, h, w]
        return torch.einsum("kp,ncphw->nckhw", transform, parts).flatten(1, 2)


def transformed_back(coefficients: Tensor, transform: Tensor) -> Tensor:
    """Coefficients [N, K * 64, h, w] -> what they paint on zero, [N, K, H, W]."""
    with torch.autocast(coefficients.device.type, enabled=False):
        parts = torch.stack(torch.split(coefficients, SIDE**2, 1), 1)
        blocks = torch.einsum("kp,nckhw->ncphw", transform, parts).flatten(1, 2)
        return F.pixel_shuffle(blocks, SIDE)
