"""
Delta frames: what is coded of a frame whose prediction both sides have, in torch.

    x --minus prediction--> d --linear path-----------------------+
                            |                                     v
         prediction --embed-+--embed, blocks, out (trunk)-------> + --> latents * gain
    latents, motion --HyperAnalysis--> z --ScaleNetwork--> scale indices (exact integers)
    symbols = round(latents) with a dead zone, zero where the scale index is 0; motion as it is
    latents_hat --linear path + embed (with the prediction's), blocks, head--> + prediction = x_hat
    (a tile without any symbol is its prediction, untouched)

The prediction comes from `rtcodec.motion`: integers, the same on both sides. The layers are those
of the intra networks with one more input each; there is no mean network, since the prediction
has said what neighbours could. Grey predictions are allowed anywhere, so a block that nothing
predicts, or a whole new scene, is coded by the same networks (docs/adr/015).
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtcodec.models.layer import (
    Conv1x1,
    Int8Input,
    clamp_ste,
    in_float32,
    int8_weight,
    round_ste,
)
from rtcodec.models.network import Analysis, Coded, GainVectors, Synthesis
from rtcodec.models.prior import (
    HyperAnalysis,
    HyperPrior,
    ScaleNetwork,
    coded_bits,
    index_to_scale,
    logistic_mass,
    noisy_bits,
    quantise,
    rounding_offsets,
)
from rtcodec.models.tier import (
    BYTE_WEIGHT_LIMIT,
    PIXEL_CHANNELS,
    SCALE_LEVELS,
    TILE_SIDE,
    Z_LIMIT,
    Tier,
)
from rtcodec.motion.vectors import CHANNELS as MOTION_CHANNELS


class ReferenceEmbedding(Conv1x1):
    """
    A 1x1 layer from a prediction to a trunk; starts at zero.

    A prediction is bytes, and a trunk only looks at it: the weights are rounded to 7 bits, as the
    graphs have them, and gradients pass through.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(PIXEL_CHANNELS, channels, bias=False)
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, 384, h16, w16] -> [N, channels, h16, w16]."""
        integers, step = int8_weight(self.weight.flatten(1), BYTE_WEIGHT_LIMIT)
        rows = F.linear(x.permute(0, 2, 3, 1), integers * step[:, None])
        return rows.permute(0, 3, 1, 2)


class DeltaAnalysis(Analysis):
    """Differences to a prediction, and the prediction, to unquantised latents."""

    def __init__(self, tier: Tier) -> None:
        super().__init__(tier)
        self.embed_reference = ReferenceEmbedding(tier.channels)

    def code(
        self, d: Tensor, prediction: Tensor, trunk_gain: Tensor, latent_gain: Tensor
    ) -> Tensor:
        """
        Differences to latents.

        Args:
            d: [N, 384, h16, w16], differences of sample values / 255.
            prediction: [N, 384, h16, w16], sample values / 255 - 0.5.
            trunk_gain: Broadcast to [N, C, h16, w16].
            latent_gain: Broadcast to [N, M, h16, w16].

        Returns:
            [N, M, h16, w16] in quantiser steps.
        """
        trunk = self.blocks(self.embed(d) + self.embed_reference(prediction)) * trunk_gain
        (out,) = in_float32(self.out_input, trunk, self.out)
        return (in_float32(self.linear, d) + out) * latent_gain


class DeltaSynthesis(Synthesis):
    """Latents and a prediction to pixels."""

    def __init__(self, tier: Tier) -> None:
        super().__init__(tier)
        self.embed_reference = ReferenceEmbedding(tier.channels)

    def paint(
        self,
        latents: Tensor,
        prediction: Tensor,
        latent_gain: Tensor,
        trunk_gain: Tensor,
        head_gain: Tensor,
    ) -> Tensor:
        """latents [N, M, h16, w16], prediction -> x [N, 384, h16, w16] / 255 - 0.5."""
        latents = latents * latent_gain
        (trunk,) = self.embed_input(latents, self.embed)
        trunk = trunk + self.embed_reference(prediction)
        trunk = self.blocks(trunk * trunk_gain) * head_gain
        (head,) = in_float32(self.head_input, trunk, self.head)
        return prediction + in_float32(self.linear, latents) + head


def with_motion(tier: Tier) -> Tier:
    """The tier as the hyper and scale networks of delta frames see it: latents and motion."""
    return replace(tier, latents=tier.latents + MOTION_CHANNELS)


class DeltaCodec(nn.Module):
    """The networks of one tier's delta frames, and the differentiable pass that trains them."""

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        self.tier = tier
        wide = with_motion(tier)
        self.analysis = DeltaAnalysis(tier)
        self.synthesis = DeltaSynthesis(tier)
        self.hyper_analysis = HyperAnalysis(wide)
        self.scale_network = ScaleNetwork(wide)
        self.hyper_prior = HyperPrior(tier)
        self.gain_vectors = GainVectors(tier)
        self.rounding: Tensor
        self.register_buffer("rounding", rounding_offsets(), persistent=False)

    def start_from(self, intra: dict[str, Tensor]) -> None:
        """Take the weights of a tier's intra codec: a coder of differences as of pictures."""
        own = self.state_dict()
        for module in self.modules():
            if isinstance(module, Int8Input):
                module.log_range = None
        own = {name: value for name, value in own.items() if not name.endswith("log_range")}
        for name, value in own.items():
            if name not in intra:
                continue
            there = intra[name]
            if there.shape == value.shape:
                value.copy_(there)
            else:  # motion is new at the end of an input or an output
                value[tuple(slice(n) for n in there.shape)] = there
        self.load_state_dict(own)

    def forward(self, x: Tensor, prediction: Tensor, motion: Tensor, qp: Tensor) -> Coded:
        """
        Code a batch.

        Args:
            x: [N, 384, h16, w16], sample values / 255 - 0.5.
            prediction: Like *x*.
            motion: Symbols of `rtcodec.motion.vectors`, [N, 3, h16, w16] float.
            qp: [N] in 0..63.
        """
        enc_trunk, enc_gain, dec_gain, dec_trunk, dec_head = (
            g[:, :, None, None] for g in self.gain_vectors(qp)
        )
        d = (x - prediction).clamp(-128 / 255, 127 / 255)  # as engines store it: a byte
        latents = self.analysis.code(d, prediction, enc_trunk, enc_gain)
        with torch.autocast(x.device.type, enabled=False):
            latents = latents.float()
            z_raw = self.hyper_analysis(torch.cat((latents, motion), 1))
            z = clamp_ste(round_ste(z_raw), -Z_LIMIT, Z_LIMIT)
            index = self.scale_network(z, qp)
            index, of_motion = index.split((latents.shape[1], MOTION_CHANNELS), 1)
            symbols = quantise(latents, index, self.rounding)
            scale = index_to_scale(clamp_ste(index, 0.0, SCALE_LEVELS - 1.0))
            still = at_rest(symbols, motion)  # of those tiles one bit is sent, and no more
            coded_y = coded_bits(symbols, scale, index, 1 - spread(still))
            bits_y = noisy_bits(latents, scale) if self.training else coded_y
            # Motion is never skipped: its index is at least 1, and its symbols are given.
            motion_scale = index_to_scale(clamp_ste(of_motion, 1.0, 63.0))
            bits_motion = symbol_bits(motion, motion_scale) * (1 - spread(still))
            bits_motion = bits_motion.sum((1, 2, 3)) + still[0].numel()
            bits_z = self.hyper_prior.bits(z_raw if self.training else z, qp, 1 - still)
        x_hat = self.synthesis.paint(symbols, prediction, dec_gain, dec_trunk, dec_head)
        # Gradients as if it were not.
        x_hat = x_hat + ((prediction - x_hat) * spread(still)).detach()
        return Coded(
            x_hat,
            bits_y + bits_motion,
            bits_z,
            coded_y + bits_motion.detach(),
            symbols,
            z,
            torch.cat((index, of_motion.clamp_min(1)), 1),
        )


def at_rest(symbols: Tensor, motion: Tensor) -> Tensor:
    """
    1 in tiles of which nothing is said, as [N, 1, h64, w64]: their prediction stays as it is.

    A still background is then the same to the last bit on every engine, however long it stands.
    """
    said = torch.cat((symbols, motion), 1).detach().abs().amax(1, keepdim=True)
    return (F.max_pool2d(said, TILE_SIDE) == 0).to(symbols.dtype)


def spread(tiles: Tensor) -> Tensor:
    """[N, 1, h64, w64] to every place of the tiles, [N, 1, h16, w16]."""
    return F.interpolate(tiles, scale_factor=TILE_SIDE, mode="nearest")


def symbol_bits(symbols: Tensor, scale: Tensor) -> Tensor:
    """Bits of given symbols, elementwise; gradients reach the scale."""
    bits = -torch.log2(logistic_mass(symbols, scale).clamp_min(2.0**-20))
    return bits + (symbols.abs() - 20 * scale).clamp_min(0) * 0.02
