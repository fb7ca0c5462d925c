"""
The factorised prior: each latent has a table of its own at each qp, the same in all places.

Balle et al. (arXiv 1611.01704). In training a logistic with a learned location and scale; coded
with the tables that are fitted to each scale index afterwards, as ours are.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from rtcodec.entropy.scale_net import ScaleNet
from rtcodec.models.baselines.autoencoder import Autoencoder
from rtcodec.models.layer import interpolate, round_ste
from rtcodec.models.prior import ScaleNetwork
from rtcodec.models.tier import QP_ANCHORS, QP_COUNT, TILE_SIDE, Tier


class Locations(nn.Module):
    """The means, by qp alone."""

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        self.location = nn.Parameter(torch.zeros(QP_ANCHORS, tier.latents))

    def forward(self, z: Tensor, qp: Tensor) -> Tensor:
        """qp [N] -> [N, M, 1, 1]; z says nothing."""
        return interpolate(self.location, qp)[:, :, None, None]


class Silence(nn.Module):
    """The prior of hyper-latents that are always zero."""

    def probability(self, z: Tensor, qp: Tensor) -> Tensor:
        """1 where z is 0."""
        return (z == 0).float()

    def bits(self, z: Tensor, qp: Tensor) -> Tensor:
        """Bits [N]: none."""
        return z.new_zeros(len(z))


class Factorised(Autoencoder):
    """Any transforms under a factorised prior. Files have one hyper-latent a tile, always zero."""

    def __init__(self, tier: Tier, analysis: nn.Module, synthesis: nn.Module) -> None:
        super().__init__(replace(tier, hyper_latents=1), analysis, synthesis)
        self.means = Locations(tier)
        self.index = nn.Parameter(torch.full((QP_ANCHORS, tier.latents), 1.5))
        self.hyper_prior = Silence()
        self.scale_network = None

    def hyper_latents(self, latents: Tensor) -> Tensor:
        n, _, h, w = latents.shape
        return latents.new_zeros(n, 1, h // TILE_SIDE, w // TILE_SIDE)

    def indices(self, z: Tensor, qp: Tensor) -> Tensor:
        index = interpolate(self.index, qp) * ScaleNetwork.BIAS_UNIT
        return round_ste(index)[:, :, None, None]

    @torch.no_grad()
    def integer_indices(self) -> ScaleNet:
        """A scale network of zeros whose last biases are the indices."""
        index = self.indices(torch.empty(0), torch.arange(QP_COUNT)).flatten(1)
        return ScaleNet(
            w1=np.zeros((4, 1), np.int8),
            b1=np.zeros((QP_COUNT, 4), np.int32),
            s1=0,
            w2=np.zeros((4, 1), np.int8),
            b2=np.zeros(4, np.int32),
            s2=0,
            w3=np.zeros((self.tier.latents, 1), np.int8),
            b3=index.to(torch.int32).numpy(),
            s3=0,
        )

    @torch.no_grad()
    def set_index(self, anchor: int, index: Tensor) -> None:
        self.index[anchor] = index / ScaleNetwork.BIAS_UNIT
