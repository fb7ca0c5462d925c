"""
Transforms of a plain convolutional autoencoder: 5x5 convolutions with strides of two.

Theis et al. (arXiv 1703.00395) and Balle et al. (arXiv 1611.01704), with leaky ReLU for GDN:
ours has neither normalisation nor roots. Luma comes in as four channels at half size, beside
chroma at its own, so three strides lead to 1/16.
"""

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtcodec.models.layer import in_float32
from rtcodec.models.network import pack_planes, unpack_planes
from rtcodec.models.tier import Tier

Conv = TypeVar("Conv", nn.Conv2d, nn.ConvTranspose2d)

HALF_CHANNELS = 6
"Samples of a place at 1/2: four of luma, one of u, one of v."


def _width(tier: Tier) -> int:
    """Of the hidden layers: as many products as our trunks have at four times the channels."""
    return tier.channels // 4


class ConvolutionalAnalysis(nn.Module):
    """Planes to latents (g_a)."""

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        width = _width(tier)
        self.first = _down(HALF_CHANNELS, width)
        self.second = _down(width, width)
        self.third = _down(width, tier.latents)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, 384, h16, w16] -> [N, M, h16, w16]."""
        y, u, v = unpack_planes(x)
        x = torch.cat((F.pixel_unshuffle(y, 2), u, v), 1)  # [N, 6, H/2, W/2]
        x = F.leaky_relu(in_float32(self.first, x), 0.1)
        x = F.leaky_relu(self.second(x), 0.1)
        return in_float32(self.third, x)  # type: ignore[no-any-return]


class ConvolutionalSynthesis(nn.Module):
    """Latents to planes (g_s)."""

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        width = _width(tier)
        self.first = _up(tier.latents, width)
        self.second = _up(width, width)
        self.third = _up(width, HALF_CHANNELS)

    def forward(self, latents: Tensor) -> Tensor:
        """latents [N, M, h16, w16] -> x [N, 384, h16, w16]."""
        x = F.leaky_relu(in_float32(self.first, latents), 0.1)
        x = F.leaky_relu(self.second(x), 0.1)
        x = in_float32(self.third, x)
        return pack_planes(F.pixel_shuffle(x[:, :4], 2), x[:, 4:5], x[:, 5:6])


def _down(c_in: int, c_out: int) -> nn.Conv2d:
    """To half the sides; outputs start with the energy of inputs."""
    conv = nn.Conv2d(c_in, c_out, 5, stride=2, padding=2)
    return _started(conv, inputs=25 * c_in)


def _up(c_in: int, c_out: int) -> nn.ConvTranspose2d:
    """To twice the sides, likewise; an output has a quarter of the 25 places as inputs."""
    conv = nn.ConvTranspose2d(c_in, c_out, 5, stride=2, padding=2, output_padding=1)
    return _started(conv, inputs=25 * c_in / 4)


def _started(conv: Conv, inputs: float) -> Conv:
    nn.init.normal_(conv.weight, std=inputs**-0.5)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv
