"""The start of training: linear paths from a PCA of blocks, so that step 0 is a transform codec."""

import math

import torch
from torch import Tensor

from rtcodec.models.data import Crops
from rtcodec.models.network import Codec, pack_planes
from rtcodec.models.tier import (
    PIXEL_CHANNELS,
    QP_ANCHORS,
    QP_COUNT,
    SCALE_LEVELS,
    SCALE_MAX,
    SCALE_MIN,
)


@torch.no_grad()
def principal_components(crops: Crops, latents: int) -> Tensor:
    """The *latents* strongest principal directions [latents, 384] of 16x16 YUV420 blocks."""
    second = torch.zeros(PIXEL_CHANNELS, PIXEL_CHANNELS, dtype=torch.float64)
    for _ in range(24):
        x = pack_planes(*crops.batch(16))
        blocks = x.permute(0, 2, 3, 1).reshape(-1, PIXEL_CHANNELS).double()
        second += blocks.T @ blocks
    _, vectors = torch.linalg.eigh(second)
    return vectors.flip(1)[:, :latents].T.float().contiguous()


@torch.no_grad()
def start_as_transform(net: Codec, crops: Crops) -> None:
    """Set the linear paths to the PCA and its transpose, and the scale indices to fit."""
    basis = principal_components(crops, net.tier.latents)
    net.analysis.linear.weight.copy_(basis[:, :, None, None])
    net.synthesis.linear.weight.copy_(basis.T[:, :, None, None])
    x = pack_planes(*crops.batch(64))
    for anchor in range(QP_ANCHORS):
        qp = torch.full((1,), anchor * (QP_COUNT - 1) / (QP_ANCHORS - 1))
        _, gain, _, _, _ = net.gains(qp)
        latents = net.analysis.linear(x) * gain[:, :, None, None]
        # Of a logistic with this mean modulus.
        scale = latents.abs().mean((0, 2, 3)) / (2 * math.log(2))
        index = torch.log(scale / SCALE_MIN) / math.log(SCALE_MAX / SCALE_MIN) * (SCALE_LEVELS - 1)
        net.scale_network.bias3[anchor] = (
            index.clamp(0, SCALE_LEVELS - 1) / net.scale_network.BIAS_UNIT
        )
