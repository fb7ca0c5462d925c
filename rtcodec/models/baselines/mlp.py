"""
Transforms of a multilayer perceptron: 16x16 blocks alone, each through the same layers.

The oldest of learned codecs (Cottrell, Munro and Zipser, 1987), with three layers for their one:
a block transform that need not be linear, with nothing said across blocks.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from rtcodec.models.layer import conv1x1, in_float32
from rtcodec.models.tier import PIXEL_CHANNELS, Tier


def _width(tier: Tier) -> int:
    """Of the hidden layers: 160 channels at 1/16 and five blocks cost as much as 480 here."""
    return 3 * tier.channels


class PatchAnalysis(nn.Module):
    """Blocks to latents (g_a)."""

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        width = _width(tier)
        self.first = conv1x1(PIXEL_CHANNELS, width)
        self.second = conv1x1(width, width)
        self.third = conv1x1(width, tier.latents)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, 384, h16, w16] -> [N, M, h16, w16]."""
        x = F.leaky_relu(in_float32(self.first, x), 0.1)
        x = F.leaky_relu(self.second(x), 0.1)
        return in_float32(self.third, x)  # type: ignore[no-any-return]


class PatchSynthesis(nn.Module):
    """Latents to blocks (g_s)."""

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        width = _width(tier)
        self.first = conv1x1(tier.latents, width)
        self.second = conv1x1(width, width)
        self.third = conv1x1(width, PIXEL_CHANNELS)

    def forward(self, latents: Tensor) -> Tensor:
        """latents [N, M, h16, w16] -> x [N, 384, h16, w16]."""
        x = F.leaky_relu(in_float32(self.first, latents), 0.1)
        x = F.leaky_relu(self.second(x), 0.1)
        return in_float32(self.third, x)  # type: ignore[no-any-return]
