"""
What the baselines share: transforms, gains by qp, our quantiser, and a coding pass that trains.

    x [384 @ 1/16] --analysis--> * gain --> latents [M @ 1/16] --> symbols, as the prior has it
    symbols + means --> * gain --> synthesis --> x

One network for all qp by gains of each latent (Cui et al., arXiv 2003.02050), as ours has them.
"""

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn

from rtcodec.entropy.scale_net import ScaleNet
from rtcodec.models.layer import QpVector, clamp_ste, qp_to_step, round_ste
from rtcodec.models.network import Coded
from rtcodec.models.prior import ScaleNetwork, code, rounding_offsets
from rtcodec.models.start import fitted_index
from rtcodec.models.tier import QP_ANCHORS, QP_COUNT, Z_LIMIT, Tier


class HyperLatentPrior(Protocol):
    """What hyper-latents cost; see `HyperPrior`."""

    def probability(self, z: Tensor, qp: Tensor) -> Tensor:
        """P(z) elementwise."""

    def bits(self, z: Tensor, qp: Tensor) -> Tensor:
        """Bits [N]."""


class Gains(nn.Module):
    """The vectors that depend on qp."""

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.encoder_gain = QpVector(latents)
        self.decoder_gain = QpVector(latents)

    def forward(self, qp: Tensor) -> tuple[Tensor, Tensor]:
        """Gains of latents [N, M], of the encoder and of the decoder, at qp [N]."""
        step = qp_to_step(qp.float())[:, None]
        return self.encoder_gain(qp) * (255.0 / step), self.decoder_gain(qp) * (step / 255.0)


class Autoencoder(nn.Module, ABC):
    """Transforms, and what a subclass says of the latents between them."""

    means: nn.Module
    "z [N, Cz, h64, w64] and qp [N] to means that spread to [N, M, h16, w16]; they move pixels."

    scale_network: ScaleNetwork | None
    "Where scale indices depend on z."

    hyper_prior: HyperLatentPrior

    def __init__(self, tier: Tier, analysis: nn.Module, synthesis: nn.Module) -> None:
        """
        Args:
            tier: Sizes.
            analysis: x [N, 384, h16, w16] -> [N, M, h16, w16], g_a.
            synthesis: The other way, g_s.
        """
        super().__init__()
        self.tier = tier
        self.analysis, self.synthesis = analysis, synthesis
        self.gain_vectors = Gains(tier.latents)
        self.rounding: Tensor
        self.register_buffer("rounding", rounding_offsets(), persistent=False)

    @abstractmethod
    def hyper_latents(self, latents: Tensor) -> Tensor:
        """Latents to z [N, Cz, h64, w64], not yet rounded (h_a)."""

    @abstractmethod
    def indices(self, z: Tensor, qp: Tensor) -> Tensor:
        """Scale indices that spread to [N, M, h16, w16], integers, not yet clamped."""

    @abstractmethod
    def integer_indices(self) -> ScaleNet:
        """What gives those indices after training."""

    @abstractmethod
    def set_index(self, anchor: int, index: Tensor) -> None:
        """Start with scale index [M] at one of the anchors of qp."""

    def latents(self, x: Tensor, gain: Tensor) -> Tensor:
        """x [N, 384, h16, w16] -> latents [N, M, h16, w16] in quantiser steps; gain [N, M]."""
        return (self.analysis(x) * gain[:, :, None, None]).float()

    def restore(self, symbols: Tensor, z: Tensor, qp: Tensor, gain: Tensor) -> Tensor:
        """Symbols [N, M, h16, w16] and z -> x [N, 384, h16, w16]; gain [N, M]."""
        latents = (symbols + self.means(z, qp)) * gain[:, :, None, None]
        return self.synthesis(latents)  # type: ignore[no-any-return]

    def forward(self, x: Tensor, qp: Tensor) -> Coded:
        """x [N, 384, h16, w16] in -0.5..0.5, qp [N] float or int in 0..63 -> Coded."""
        encoder_gain, decoder_gain = self.gain_vectors(qp)
        latents = self.latents(x, encoder_gain)
        with torch.autocast(x.device.type, enabled=False):
            z_raw = self.hyper_latents(latents)
            z = clamp_ste(round_ste(z_raw), -Z_LIMIT, Z_LIMIT)
            index = self.indices(z, qp).expand_as(latents)
            residual = latents - self.means(z, qp)
            symbols, bits_y, coded_y = code(residual, index, self.rounding, training=self.training)
            bits_z = self.hyper_prior.bits(z_raw if self.training else z, qp)
        x_hat = self.restore(symbols, z, qp, decoder_gain)
        return Coded(x_hat, bits_y, bits_z, coded_y, symbols, z, index)

    @torch.no_grad()
    def begin(self, x: Tensor) -> None:
        """Let scale indices fit what the first weights make of x [N, 384, h16, w16]."""
        for anchor in range(QP_ANCHORS):
            qp = torch.full((len(x),), anchor * (QP_COUNT - 1) / (QP_ANCHORS - 1))
            latents = self.latents(x, self.gain_vectors(qp)[0])
            self.set_index(anchor, fitted_index(latents))
