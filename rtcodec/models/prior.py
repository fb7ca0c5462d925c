"""
What is said about the latents through the hyper-latents: their means, scales and bits.

    latents --HyperAnalysis--> z --ScaleNetwork (exact integers)--> scale indices: choose tables
                               z --Means (floats)--> means: move pixels only, never the parse
                               z --HyperPrior--> bits of z, frozen into tables at export
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtcodec.entropy.scale_net import ScaleNet
from rtcodec.errors import ConfigError
from rtcodec.models.layer import Conv1x1, clamp_ste, conv1x1, interpolate, round_ste
from rtcodec.models.tier import (
    ANCHOR,
    ANCHORED,
    QP_ANCHORS,
    QP_COUNT,
    SCALE_LEVELS,
    SCALE_MAX,
    SCALE_MIN,
    TILE_PLACES,
    TILE_SIDE,
    Tier,
)

DEAD_ZONE = 0.025
"See `rounding_offsets`. Measured: 0.01 saves 2.5 % of the bits, 0.02 3.4, 0.03 3.6, 0.045 3.3."


class HyperAnalysis(nn.Module):
    """Latents to hyper-latents at 1/64 (h_a), not yet rounded."""

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        self.first = conv1x1(tier.latents, 64)
        self.second = conv1x1(256, 96)
        self.third = conv1x1(384, tier.hyper_latents)

    def forward(self, latents: Tensor) -> Tensor:
        """latents [N, M, h16, w16] -> z [N, Cz, h64, w64] before rounding."""
        # A soft compression of the range: a latent may be hundreds of steps at fine qp.
        x = F.leaky_relu(self.first(latents / (1 + latents.abs() / 8)), -0.5)
        x = F.leaky_relu(self.second(F.pixel_unshuffle(x, 2)), 0.1)
        return self.third(F.pixel_unshuffle(x, 2))  # type: ignore[no-any-return]


class Means(nn.Module):
    """
    Means of the latents in three steps, from float features; they move pixels, never the parse.

    Step 0 is one place of each tile, its anchor, and sees z only. What the first ANCHORED latents
    are off there is carried over to the tile's other places: a flat tile then says its colour once
    (docs/adr/012). Step 1 sees z and that; step 2 also the latents of the places before: a
    checkerboard that is swapped between even and odd channels (DCVC-RT, arXiv 2502.20762).
    """

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        p, m = tier.prior, tier.latents
        self.first = conv1x1(tier.hyper_latents, 256)
        self.second = conv1x1(64, 4 * p)
        self.step1 = conv1x1(p, m, zero=True)
        self.anchor_spread = Conv1x1(ANCHORED, ANCHORED * TILE_PLACES, bias=False)
        self.anchor_gate = conv1x1(p, ANCHORED, zero=True)
        self.anchor_out = Conv1x1(ANCHORED, m, bias=False)
        self.context = conv1x1(p + m, p)
        self.depthwise = nn.Conv2d(p, p, 3, padding=1, groups=p)
        self.depthwise2 = nn.Conv2d(p, p, 3, padding=1, groups=p)
        self.middle = conv1x1(p, p)
        self.step2 = conv1x1(p, m, zero=True)
        with torch.no_grad():
            alike = torch.eye(ANCHORED).repeat_interleave(TILE_PLACES, 0)
            self.anchor_spread.weight.copy_(alike[:, :, None, None])
            assert self.anchor_gate.bias is not None
            self.anchor_gate.bias.fill_(1.0)
            self.anchor_out.weight.zero_()

    def features(self, z: Tensor) -> Tensor:
        """z [N, Cz, h64, w64] -> [N, P, h16, w16]."""
        x = F.leaky_relu(F.pixel_shuffle(self.first(z), 2), 0.1)
        return F.leaky_relu(F.pixel_shuffle(self.second(x), 2), 0.1)

    def carry(self, features: Tensor, anchors: Tensor) -> Tensor:
        """What *anchors* [N, ANCHORED, h64, w64], symbols, add to the means of step 1."""
        spread = F.pixel_shuffle(self.anchor_spread(anchors), TILE_SIDE)
        gate = self.anchor_gate(features).clamp(0.0, 1.0)
        # At the anchors themselves nothing is added: they are coded without it.
        return self.anchor_out(spread * gate * (1 - at_anchors(spread)))  # type: ignore[no-any-return]

    def refine(self, features: Tensor, known: Tensor) -> Tensor:
        """Means of the step-2 places; *known* [N, M, h16, w16], latents, is zero at those."""
        x = F.leaky_relu(self.context(torch.cat((features, known), 1)), 0.1)
        x = F.leaky_relu(self.middle(self.depthwise(x)), 0.1)
        return self.step2(self.depthwise2(x))  # type: ignore[no-any-return]

    def around(self, latents: Tensor, z: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
        """
        Means as the decoder will know them, for the encoder.

        Args:
            latents: [N, M, h16, w16] in quantiser steps.
            z: [N, Cz, h64, w64] integers.
            index: Scale indices, like *latents*.
            offsets: See `rounding_offsets`.

        Returns:
            [N, M, h16, w16]; symbols are `quantise(latents - means, index, offsets)`.
        """
        before = before_step2(latents)
        features = self.features(z)
        means = self.step1(features)
        residual = anchors_of(latents) - anchors_of(means)
        anchors = quantise(residual, anchors_of(index), offsets)
        means = means + self.carry(features, anchors)
        symbols = quantise(latents - means, index, offsets)
        refined = self.refine(features, (symbols + means) * before)
        return torch.where(before > 0, means, refined)

    def restore(self, symbols: Tensor, z: Tensor) -> Tensor:
        """Symbols and z -> quantised latents [N, M, h16, w16], in the decoder."""
        before = before_step2(symbols)
        features = self.features(z)
        means = self.step1(features) + self.carry(features, anchors_of(symbols))
        known = (symbols + means) * before
        return known + (symbols + self.refine(features, known)) * (1 - before)


def anchors_of(x: Tensor) -> Tensor:
    """The first ANCHORED channels of [N, M, h16, w16] at the anchors, [N, ANCHORED, h64, w64]."""
    return x[:, :ANCHORED, ANCHOR::TILE_SIDE, ANCHOR::TILE_SIDE]


def at_anchors(like: Tensor) -> Tensor:
    """1 at the anchors of a [N, K, h, w] tensor, as [1, 1, h, w]."""
    mask = torch.zeros(1, 1, *like.shape[2:], dtype=like.dtype, device=like.device)
    mask[..., ANCHOR::TILE_SIDE, ANCHOR::TILE_SIDE] = 1
    return mask


def before_step2(like: Tensor) -> Tensor:
    """1 at the places of steps 0 and 1 of a [N, M, h, w] tensor, as [1, M, h, w]."""
    _, m, h, w = like.shape
    rows = torch.arange(h, device=like.device)[:, None]
    columns = torch.arange(w, device=like.device)[None, :]
    even = ((rows + columns) % 2 == 0).to(like.dtype)  # [h, w]
    half = (torch.arange(m, device=like.device) % 2 == 0).to(like.dtype)[:, None, None]
    checkerboard = (half * even + (1 - half) * (1 - even))[None]
    return torch.maximum(checkerboard, at_anchors(like))


class QuantisedLayer(nn.Module):
    """
    One 1x1 layer of the exact scale network: floats in training, integers from then on.

    The weight times 2^shift, rounded to -127..127, is the integer weight; activations are integers
    then. Which way each weight is rounded is chosen after training (`rtcodec.models.rounding`):
    trained through its rounding, every step that turned some weights over moved indices by three.
    """

    def __init__(self, c_in: int, c_out: int, shift: int, spread: float) -> None:
        super().__init__()
        self.shift = shift
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 1, 1) * spread)

    def integer_weight(self) -> Tensor:
        """[O, I, 1, 1], integers -127..127 as floats."""
        return self._scaled_weight().round()

    def forward(self, a: Tensor, bias: Tensor | None = None) -> Tensor:
        """
        a [N, I, h, w] -> (W a + B) / 2^shift, not yet clamped.

        In training of floats, and not rounded; else of integers, and floor(that + 1/2).
        """
        weight = self._scaled_weight() if self.training else self.integer_weight()
        acc = F.linear(a.permute(0, 2, 3, 1), weight.flatten(1)).permute(0, 3, 1, 2)
        if bias is not None:
            acc = acc + bias
        out = acc * 2.0**-self.shift
        return out if self.training else (out + 0.5).floor()

    def _scaled_weight(self) -> Tensor:
        return clamp_ste(self.weight * 2.0**self.shift, -127, 127)


class ScaleNetwork(nn.Module):
    """z and qp to scale indices 0..63 per latent, in exact integers (design law 1)."""

    HIDDEN1, HIDDEN2 = 64, 96
    BIAS_UNIT = 16.0
    "Biases are learned in units of this many activation steps: one learning rate suits all."

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        h1, h2 = self.HIDDEN1, self.HIDDEN2
        self.layer1 = QuantisedLayer(tier.hyper_latents, 4 * h1, 4, 0.6)
        self.layer2 = QuantisedLayer(h1, 4 * h2, 8, 0.12)
        self.layer3 = QuantisedLayer(h2, tier.latents, 8, 0.02)
        self.bias1 = nn.Parameter(torch.full((QP_ANCHORS, 4 * h1), 2.0))
        self.bias2 = nn.Parameter(torch.full((4 * h2,), 1.0))
        self.bias3 = nn.Parameter(torch.full((QP_ANCHORS, tier.latents), 1.5))

    def biases(self, qp: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """
        Integer biases at qp [N], as floats.

        Returns:
            [N, 4 * H1, 1, 1] and [1, 4 * H2, 1, 1] in accumulator units, [N, M, 1, 1] in indices.
        """
        b1 = round_ste(interpolate(self.bias1, qp) * self.BIAS_UNIT * 2.0**self.layer1.shift)
        b2 = round_ste(self.bias2 * self.BIAS_UNIT * 2.0**self.layer2.shift)
        b3 = round_ste(interpolate(self.bias3, qp) * self.BIAS_UNIT)
        return b1[:, :, None, None], b2[None, :, None, None], b3[:, :, None, None]

    def forward(self, z: Tensor, qp: Tensor) -> Tensor:
        """Integers z [N, Cz, h64, w64], qp [N] -> indices [N, M, h16, w16], not yet clamped."""
        b1, b2, b3 = self.biases(qp)
        a = clamp_ste(self.layer1(z, b1), 0, 255)
        a = clamp_ste(self.layer2(F.pixel_shuffle(a, 2), b2), 0, 255)
        return round_ste(self.layer3(F.pixel_shuffle(a, 2)) + b3)

    @torch.no_grad()
    def integers(self, *, always_coded: int = 0) -> ScaleNet:
        """
        The integers that it is exported as; round its weights before (`rtcodec.models.rounding`).

        Raises:
            ConfigError: If a sum of a layer could reach 2**24: floats would not be exact.
        """
        b1, b2, b3 = (
            b.flatten(1).round().to(torch.int32).numpy()
            for b in self.biases(torch.arange(QP_COUNT))
        )
        layers = (self.layer1, self.layer2, self.layer3)
        w1, w2, w3 = (layer.integer_weight().flatten(1).to(torch.int8).numpy() for layer in layers)
        s1, s2, s3 = (layer.shift for layer in layers)
        try:
            return ScaleNet(
                w1=w1,
                b1=b1,
                s1=s1,
                w2=w2,
                b2=b2[0],
                s2=s2,
                w3=w3,
                b3=b3,
                s3=s3,
                always_coded=always_coded,
            )
        except ConfigError as error:
            raise ConfigError(f"the scale network cannot be frozen: {error}") from None


class HyperPrior(nn.Module):
    """Rate of z: a discretised mixture of two logistics per channel and qp."""

    UNIT = 10.0
    "Parameters are learned in this unit, so that they keep up with z at everyone's learning rate."

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        shape = (QP_ANCHORS, tier.hyper_latents)
        self.location = nn.Parameter(torch.zeros(shape))
        self.log_scale = nn.Parameter(torch.full(shape, -1.0 / self.UNIT))
        self.log_wide = nn.Parameter(torch.full(shape, 1.0 / self.UNIT))
        self.mix = nn.Parameter(torch.full(shape, -1.5 / self.UNIT))

    def probability(self, z: Tensor, qp: Tensor) -> Tensor:
        """P(z) elementwise; z [N, Cz, h, w], qp [N]."""

        def at(table: Tensor) -> Tensor:
            return interpolate(table, qp)[:, :, None, None] * self.UNIT

        narrow = logistic_mass(z - at(self.location), at(self.log_scale).exp())
        wide = logistic_mass(z - at(self.location), at(self.log_wide).exp())
        part = torch.sigmoid(at(self.mix))
        return narrow * (1 - part) + wide * part

    def bits(self, z: Tensor, qp: Tensor, share: Tensor | float = 1.0) -> Tensor:
        """
        Bits [N] of the hyper-latents; in training *z* is not rounded and gets noise.

        Each counts for its *share*, broadcast to z.
        """
        if self.training:
            z = z + torch.rand_like(z) - 0.5
        mass = self.probability(z, qp)
        return (-torch.log2(mass.clamp_min(2.0**-16)) * share).sum((1, 2, 3))


def code(
    residual: Tensor, index: Tensor, offsets: Tensor, *, training: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Code latents minus means at their scale indices, all [N, M, h16, w16].

    Returns:
        Symbols; bits [N] that gradients go through, in training with noise for rounding; and bits
        [N] of the symbols as they are.
    """
    symbols = quantise(residual, index, offsets)
    scale = index_to_scale(clamp_ste(index, 0.0, SCALE_LEVELS - 1.0))
    as_coded = coded_bits(symbols, scale, index)
    return symbols, noisy_bits(residual, scale) if training else as_coded, as_coded


def noisy_bits(residual: Tensor, scale: Tensor) -> Tensor:
    """Bits [N] of latents minus means with additive noise: what gradients go through."""
    noisy = residual + torch.rand_like(residual) - 0.5
    bits = -torch.log2(logistic_mass(noisy, scale).clamp_min(2.0**-20))
    # Where the mass is clamped the gradient is gone: a slope keeps pulling outliers in.
    outlying = (noisy.abs() - 20 * scale).clamp_min(0) * 0.02
    return (bits + outlying).sum((1, 2, 3))


@torch.no_grad()
def coded_bits(
    symbols: Tensor, scale: Tensor, index: Tensor, share: Tensor | float = 1.0
) -> Tensor:
    """
    Bits [N] of the symbols as they are coded: none where the index says skip.

    Each counts for its *share*, broadcast to symbols.
    """
    bits = -torch.log2(logistic_mass(symbols, scale).clamp_min(2.0**-20))
    return (torch.where(index >= 1, bits, 0.0) * share).sum((1, 2, 3))


def logistic_mass(centred: Tensor, scale: Tensor) -> Tensor:
    """Mass of [x - 1/2, x + 1/2] under a logistic with mean 0; stable in both tails."""
    x = centred.abs()
    return torch.sigmoid((0.5 - x) / scale) - torch.sigmoid((-0.5 - x) / scale)


def rounding_offsets(dead_zone: float = DEAD_ZONE, least: float = 0.02) -> Tensor:
    """
    What is added to a residual's modulus before it is cut to an integer, [64] by scale index.

    1/2 would be plain rounding. A residual near 1/2 costs more bits than its distortion is worth,
    the more so the surer the coder is of a zero, so the dead zone widens with the bits that a 1
    costs over a 0 (rate-distortion optimised quantisation). Index 0 is never coded: always 0.

    Args:
        dead_zone: What each of those bits takes away.
        least: No offset is below this; may be negative.
    """
    scale = index_to_scale(torch.arange(SCALE_LEVELS).float())
    zero, one = (logistic_mass(torch.full_like(scale, x), scale) for x in (0.0, 1.0))
    bits = (torch.log2(zero.clamp_min(1e-6)) - torch.log2(one.clamp_min(1e-6))).clamp(max=14.0)
    offset = (0.5 - dead_zone * bits).clamp_min(least)
    offset[0] = -1e6
    return offset


def quantise(residual: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    """Integer symbols of *residual* at scale *index*; gradients pass where a symbol is coded."""
    offset = offsets[index.detach().clamp(0, SCALE_LEVELS - 1).long()]
    symbols = (residual.sign() * (residual.abs() + offset).floor().clamp_min(0)).detach()
    # The difference is exactly 0 and carries the gradient, so the sum is an exact integer.
    return torch.where(index >= 1, symbols + (residual - residual.detach()), 0.0)


def round_by(x: Tensor, offset: float) -> Tensor:
    """x with its modulus plus *offset* cut to an integer; gradients pass unchanged."""
    return x + (x.sign() * (x.abs() + offset).floor() - x).detach()


def index_to_scale(index: Tensor) -> Tensor:
    """Logistic scale of a (possibly fractional) index, log-linear."""
    ratio = SCALE_MAX / SCALE_MIN
    return SCALE_MIN * ratio ** (index / (SCALE_LEVELS - 1))  # type: ignore[no-any-return]
