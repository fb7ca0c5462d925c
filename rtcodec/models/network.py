"""
The intra autoencoder: YUV420 planes to integer symbols and back, in torch.

    y, u, v --unshuffle--> x [384 @ 1/16] --linear path-----------+
                           |                                      v
                           +--embed, blocks, out (trunk)--------> + --> latents [M @ 1/16] * gain
    latents --HyperAnalysis--> z [Cz @ 1/64] --ScaleNetwork--> scale indices (exact integers)
    z --Means--> means (in steps: one place of each tile, half of the places, then the rest)
    symbols = round(latents - means) with a dead zone, zero where the scale index is 0
    latents_hat = symbols + means --linear path + embed, blocks, head (trunk)--> y, u, v

Everything runs at 1/16: at equal multiplications that has half the activations of a trunk at 1/8,
and on a CPU reading and writing those was 40 % of the time (docs/adr/006).
The linear paths start as a transform and the trunks as zero, so step 0 is a
transform codec. This module holds networks only: no files, no data, no optimiser.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtcodec.models.layer import (
    Block,
    Conv1x1,
    Int8Input,
    QpVector,
    clamp_ste,
    conv1x1,
    in_float32,
    qp_to_step,
    round_ste,
)
from rtcodec.models.prior import (
    HyperAnalysis,
    HyperPrior,
    Means,
    ScaleNetwork,
    code,
    rounding_offsets,
)
from rtcodec.models.tier import PIXEL_CHANNELS, Z_LIMIT, Tier

Gains = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"Encoder trunk [N, C], encoder [N, M], decoder [N, M], decoder trunk [N, C], decoder head [N, C]."


class Analysis(nn.Module):
    """Pixels to unquantised latents (g_a). Gains: trunk [C], latents [M]."""

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        c = tier.channels
        self.linear = Conv1x1(PIXEL_CHANNELS, tier.latents, bias=False)
        self.embed = conv1x1(PIXEL_CHANNELS, c)
        self.blocks = nn.Sequential(*(Block(c) for _ in range(tier.encoder_blocks)))
        self.out_input = Int8Input(c)
        self.out = conv1x1(c, tier.latents, zero=True)

    def forward(self, x: Tensor, trunk_gain: Tensor, latent_gain: Tensor) -> Tensor:
        """x [N, 384, h16, w16] -> latents [N, M, h16, w16] in units of the quantiser step."""
        trunk = self.blocks(self.embed(x)) * trunk_gain
        (out,) = in_float32(self.out_input, trunk, self.out)
        return (in_float32(self.linear, x) + out) * latent_gain


class Synthesis(nn.Module):
    """
    Latents to pixels (g_s). Gains: latents [M], trunk [C], head [C].

    The trunk sees latents scaled down and its output scaled up by about the root of the step:
    what it has to correct is the quantiser's noise.
    """

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        c = tier.channels
        self.linear = Conv1x1(tier.latents, PIXEL_CHANNELS, bias=False)
        self.embed_input = Int8Input(tier.latents)
        self.embed = conv1x1(tier.latents, c)
        self.blocks = nn.Sequential(*(Block(c) for _ in range(tier.decoder_blocks)))
        self.head_input = Int8Input(c)
        self.head = conv1x1(c, PIXEL_CHANNELS, zero=True)

    def forward(
        self, latents: Tensor, latent_gain: Tensor, trunk_gain: Tensor, head_gain: Tensor
    ) -> Tensor:
        """latents [N, M, h16, w16] -> x [N, 384, h16, w16]."""
        latents = latents * latent_gain
        (trunk,) = self.embed_input(latents, self.embed)
        trunk = self.blocks(trunk * trunk_gain) * head_gain
        (head,) = in_float32(self.head_input, trunk, self.head)
        return in_float32(self.linear, latents) + head


class GainVectors(nn.Module):
    """The vectors that depend on qp: one model codes at any."""

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        self.encoder_trunk_gain = QpVector(tier.channels)
        self.encoder_gain = QpVector(tier.latents)
        self.decoder_gain = QpVector(tier.latents)
        self.decoder_trunk_gain = QpVector(tier.channels)
        self.decoder_head_gain = QpVector(tier.channels)

    def forward(self, qp: Tensor) -> Gains:
        """Gain vectors at qp [N]."""
        step = qp_to_step(qp.float())[:, None]
        root = (step / 20.0).sqrt()
        return (
            self.encoder_trunk_gain(qp),
            self.encoder_gain(qp) * (255.0 / step),
            self.decoder_gain(qp) * (step / 255.0),
            self.decoder_trunk_gain(qp) / root,
            self.decoder_head_gain(qp) * root,
        )


def pack_planes(y: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Planes [N, 1, H, W], [N, 1, H/2, W/2] twice, one scale -> x [N, 384, H/16, W/16]."""
    return torch.cat(
        (F.pixel_unshuffle(y, 16), F.pixel_unshuffle(u, 8), F.pixel_unshuffle(v, 8)), 1
    )


def unpack_planes(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Invert `pack_planes`."""
    y, u, v = torch.split(x, [256, 64, 64], 1)
    return F.pixel_shuffle(y, 16), F.pixel_shuffle(u, 8), F.pixel_shuffle(v, 8)


@dataclass(slots=True)
class Coded:
    """What one training pass yields."""

    x_hat: Tensor
    "[N, 384, h16, w16], sample values / 255 - 0.5."

    bits_y: Tensor
    "[N] estimated bits of the symbols."

    bits_z: Tensor
    "[N] estimated bits of the hyper-latents."

    coded_y: Tensor
    "[N] estimated bits of the rounded symbols, without a gradient; `bits_y` is noisier and higher."

    symbols: Tensor
    "[N, M, h16, w16] integers."

    z: Tensor
    "[N, Cz, h64, w64] integers -15..15."

    index: Tensor
    "Unclamped scale indices [N, M, h16, w16]."


class Codec(nn.Module):
    """All networks of one tier, and the differentiable coding pass that trains them."""

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        self.tier = tier
        self.analysis = Analysis(tier)
        self.synthesis = Synthesis(tier)
        self.hyper_analysis = HyperAnalysis(tier)
        self.means = Means(tier)
        self.scale_network = ScaleNetwork(tier)
        self.hyper_prior = HyperPrior(tier)
        self.gain_vectors = GainVectors(tier)
        self.rounding: Tensor
        self.register_buffer("rounding", rounding_offsets(), persistent=False)

    def forward(self, x: Tensor, qp: Tensor) -> Coded:
        """x [N, 384, h16, w16] in -0.5..0.5, qp [N] float or int in 0..63 -> Coded."""
        enc_trunk, enc_gain, dec_gain, dec_trunk, dec_head = (
            g[:, :, None, None] for g in self.gain_vectors(qp)
        )
        latents = self.analysis(x, enc_trunk, enc_gain)
        with torch.autocast(x.device.type, enabled=False):
            latents = latents.float()
            z_raw = self.hyper_analysis(latents)
            z = clamp_ste(round_ste(z_raw), -Z_LIMIT, Z_LIMIT)
            index = self.scale_network(z, qp)
            means = self.means.around(latents, z, index, self.rounding)
            symbols, bits_y, coded_y = code(
                latents - means, index, self.rounding, training=self.training
            )
            bits_z = self.hyper_prior.bits(z_raw if self.training else z, qp)
        x_hat = self.synthesis(symbols + means, dec_gain, dec_trunk, dec_head)
        return Coded(x_hat, bits_y, bits_z, coded_y, symbols, z, index)
