"""
The mean and scale hyperprior: latents are told about by hyper-latents, which are sent first.

Balle et al. (arXiv 1802.01436) with the means of Minnen et al. (arXiv 1809.02736), without their
context model. Scales come out of the exact integer network that ours has, so the parse never
depends on a float; means are floats and move pixels only.

    latents --hyper_analysis--> z --scale_network--> scale indices
                                z --means--> means
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtcodec.entropy.scale_net import ScaleNet
from rtcodec.models.baselines.autoencoder import Autoencoder
from rtcodec.models.layer import conv1x1
from rtcodec.models.prior import HyperAnalysis, HyperPrior, ScaleNetwork
from rtcodec.models.tier import Tier


class HyperMeans(nn.Module):
    """Hyper-latents to means (one half of h_s), all places in one step."""

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        self.first = conv1x1(tier.hyper_latents, 256)
        self.second = conv1x1(64, 4 * tier.prior)
        self.third = conv1x1(tier.prior, tier.latents, zero=True)

    def forward(self, z: Tensor, qp: Tensor) -> Tensor:
        """z [N, Cz, h64, w64] -> [N, M, h16, w16]; qp is in the gains."""
        x = F.leaky_relu(F.pixel_shuffle(self.first(z), 2), 0.1)
        x = F.leaky_relu(F.pixel_shuffle(self.second(x), 2), 0.1)
        return self.third(x)  # type: ignore[no-any-return]


class Hyperprior(Autoencoder):
    """Any transforms under a mean and scale hyperprior."""

    scale_network: ScaleNetwork

    def __init__(self, tier: Tier, analysis: nn.Module, synthesis: nn.Module) -> None:
        super().__init__(tier, analysis, synthesis)
        self.hyper_analysis = HyperAnalysis(tier)
        self.means = HyperMeans(tier)
        self.scale_network = ScaleNetwork(tier)
        self.hyper_prior = HyperPrior(tier)

    def hyper_latents(self, latents: Tensor) -> Tensor:
        return self.hyper_analysis(latents)  # type: ignore[no-any-return]

    def indices(self, z: Tensor, qp: Tensor) -> Tensor:
        return self.scale_network(z, qp)  # type: ignore[no-any-return]

    def integer_indices(self) -> ScaleNet:
        return self.scale_network.integers()

    @torch.no_grad()
    def set_index(self, anchor: int, index: Tensor) -> None:
        self.scale_network.bias3[anchor] = index / ScaleNetwork.BIAS_UNIT
