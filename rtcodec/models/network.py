"""
The intra autoencoder: YUV420 planes to integer symbols and back, in torch.

    y, u, v --unshuffle--> x [384 @ 1/16] --linear path---------------+
                            |                                         v
                            +--embed, blocks, out (trunk)-----------> + --> latents [M @ 1/16] * gain
    latents --hyper_analysis--> z [Cz @ 1/64]  --exact scale network--> scale indices (integers)
    z --hyper_synthesis--> means (two steps: half of the places, then the rest from them)
    symbols = round(latents - means), zero where the scale index is 0
    latents_hat = symbols + means --linear path + embed, blocks, head (trunk)--> y, u, v

Everything runs at 1/16: at equal multiplications that has half the activations of a trunk at 1/8, and on a CPU
reading and writing those was 40 % of the time (docs/adr/006).
The linear paths start as the PCA of training blocks and the trunks as zero, so step 0 is a transform codec.
This module holds networks only: no files, no data, no optimiser. Dimensions: N batch, M latent channels, C trunk
channels, Cz hyper-latent channels, h16 w16 = H/16 W/16 and so on.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

QP_COUNT = 64
QP_ANCHORS = 8
"Per-qp vectors are learned at this many anchors and interpolated linearly between them."

FINEST_STEP = 3.0
COARSEST_STEP = 160.0
"Quantiser steps of an orthonormal transform at qp 0 and 63, in 8-bit sample values."

Z_LIMIT = 15
SCALE_LEVELS = 64
SCALE_MIN, SCALE_MAX = 0.03, 64.0
"Logistic scale at index 0 and 63; log-linear between."

PIXEL_CHANNELS = 384
"Samples of one 16x16 block in 4:2:0: 256 + 64 + 64."


@dataclass(frozen=True, slots=True)
class Tier:
    """The sizes that make one model."""

    name: str
    channels: int
    "C, channels of the trunks at 1/16."

    latents: int
    "M, latent channels at 1/16."

    hyper_latents: int
    "Cz, hyper-latent channels at 1/64."

    encoder_blocks: int
    decoder_blocks: int
    prior: int
    "Channels of the mean network at 1/16."


TIERS = {
    "n64": Tier("n64", 128, 192, 32, 2, 3, 64),
    "s128": Tier("s128", 160, 288, 48, 2, 3, 96),
}


def qp_to_step(qp: Tensor) -> Tensor:
    """Nominal quantiser step in 8-bit sample values, log-linear in qp."""
    return FINEST_STEP * (COARSEST_STEP / FINEST_STEP) ** (qp / (QP_COUNT - 1))


class RoundSTE(torch.autograd.Function):
    """Round half up in the forward pass (as the exact network does), identity in the backward pass."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:  # noqa: ARG004
        return torch.floor(x + 0.5)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:  # type: ignore[override]  # noqa: ARG004
        return grad


def round_ste(x: Tensor) -> Tensor:
    """Round to integers; gradients pass unchanged."""
    return RoundSTE.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def clamp_ste(x: Tensor, low: float, high: float) -> Tensor:
    """Clamp; gradients pass where the value is inside or moving back inside."""
    return ClampSTE.apply(x, low, high)  # type: ignore[no-any-return, no-untyped-call]


class ClampSTE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, low: float, high: float) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        ctx.bounds = (low, high)
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        low, high = ctx.bounds
        blocked = ((x > high) & (grad < 0)) | ((x < low) & (grad > 0))
        return grad.masked_fill(blocked, 0.0), None, None


def conv1x1(c_in: int, c_out: int, *, zero: bool = False) -> nn.Conv2d:
    """A 1x1 convolution with bias; *zero* starts it at 0."""
    conv = nn.Conv2d(c_in, c_out, 1)
    if zero:
        nn.init.zeros_(conv.weight)
    else:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class Block(nn.Module):
    """
    Depth-wise mixing, then a gated 1x1 pair, both residual (5 C^2 + 9 C multiplications per place).

    ReLU family only and no normalisation, so that every runtime agrees closely (MLVC, arXiv 2606.28027).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix_in = conv1x1(channels, channels)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.mix_out = conv1x1(channels, channels)
        self.value = conv1x1(channels, channels)
        self.gate = conv1x1(channels, channels)
        self.project = conv1x1(channels, channels)
        self.mix_scale = nn.Parameter(torch.full((1, channels, 1, 1), 0.05))
        self.gate_scale = nn.Parameter(torch.full((1, channels, 1, 1), 0.05))
        with torch.no_grad():
            self.depthwise.weight.mul_(0.5)
            self.depthwise.weight[:, :, 1, 1] += 0.7

    def forward(self, x: Tensor) -> Tensor:  # [N, C, h, w]
        x = x + self.mix_scale * self.mix_out(self.depthwise(F.leaky_relu(self.mix_in(x), 0.1)))
        return x + self.gate_scale * self.project(
            self.value(x) * (self.gate(x) + 0.5).clamp(0.0, 1.0)
        )


class QpVector(nn.Module):
    """A positive vector per qp, exp of a log-gain interpolated between anchors."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(QP_ANCHORS, channels))

    def forward(self, qp: Tensor) -> Tensor:  # [N] -> [N, channels]
        return interpolate(self.log_gain, qp).exp()


def interpolate(anchors: Tensor, qp: Tensor) -> Tensor:
    """Rows of *anchors* [QP_ANCHORS, K] at qp [N] in 0..63, linearly interpolated to [N, K]."""
    place = qp.float() * ((QP_ANCHORS - 1) / (QP_COUNT - 1))
    low = place.floor().clamp(max=QP_ANCHORS - 2).long()
    part = (place - low)[:, None]
    return anchors[low] * (1 - part) + anchors[low + 1] * part


class Analysis(nn.Module):
    """Pixels to unquantised latents (g_a). Gains: trunk [C], latents [M]."""

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        c = tier.channels
        self.linear = nn.Conv2d(PIXEL_CHANNELS, tier.latents, 1, bias=False)
        self.embed = conv1x1(PIXEL_CHANNELS, c)
        self.blocks = nn.Sequential(*(Block(c) for _ in range(tier.encoder_blocks)))
        self.out = conv1x1(c, tier.latents, zero=True)

    def forward(self, x: Tensor, trunk_gain: Tensor, latent_gain: Tensor) -> Tensor:
        """x [N, 384, h16, w16] -> latents [N, M, h16, w16] in units of the quantiser step."""
        trunk = self.blocks(self.embed(x)) * trunk_gain
        return (self.linear(x) + self.out(trunk)) * latent_gain  # type: ignore[no-any-return]


class Synthesis(nn.Module):
    """
    Latents to pixels (g_s). Gains: latents [M], trunk [C], head [C].

    The trunk sees latents scaled down and its output scaled up by about the root of the step: what it has to
    correct is the quantiser's noise.
    """

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        c = tier.channels
        self.linear = nn.Conv2d(tier.latents, PIXEL_CHANNELS, 1, bias=False)
        self.embed = conv1x1(tier.latents, c)
        self.blocks = nn.Sequential(*(Block(c) for _ in range(tier.decoder_blocks)))
        self.head = conv1x1(c, PIXEL_CHANNELS, zero=True)

    def forward(
        self, latents: Tensor, latent_gain: Tensor, trunk_gain: Tensor, head_gain: Tensor
    ) -> Tensor:
        """latents [N, M, h16, w16] -> x [N, 384, h16, w16]."""
        latents = latents * latent_gain
        trunk = self.blocks(self.embed(latents) * trunk_gain) * head_gain
        return self.linear(latents) + self.head(trunk)  # type: ignore[no-any-return]


class HyperAnalysis(nn.Module):
    """Latents to hyper-latents at 1/64 (h_a), not yet rounded."""

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        self.first = conv1x1(tier.latents, 64)
        self.second = conv1x1(256, 96)
        self.third = conv1x1(384, tier.hyper_latents)

    def forward(self, latents: Tensor) -> Tensor:
        # A soft compression of the range: a latent may be hundreds of steps at fine qp.
        x = F.leaky_relu(self.first(latents / (1 + latents.abs() / 8)), -0.5)
        x = F.leaky_relu(self.second(F.pixel_unshuffle(x, 2)), 0.1)
        return self.third(F.pixel_unshuffle(x, 2))  # type: ignore[no-any-return]


class Means(nn.Module):
    """
    Means of the latents in two steps, from float features; they move pixels, never the parse.

    Step 1 sees z only. Step 2 sees z and the latents of the step-1 places: a checkerboard that is swapped
    between the two halves of the channels (DCVC-RT, arXiv 2502.20762).
    """

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        p, m = tier.prior, tier.latents
        self.first = conv1x1(tier.hyper_latents, 256)
        self.second = conv1x1(64, 4 * p)
        self.step1 = conv1x1(p, m, zero=True)
        self.context = conv1x1(p + m, p)
        self.depthwise = nn.Conv2d(p, p, 3, padding=1, groups=p)
        self.depthwise2 = nn.Conv2d(p, p, 3, padding=1, groups=p)
        self.middle = conv1x1(p, p)
        self.step2 = conv1x1(p, m, zero=True)

    def features(self, z: Tensor) -> Tensor:  # [N, Cz, h64, w64] -> [N, P, h16, w16]
        x = F.leaky_relu(F.pixel_shuffle(self.first(z), 2), 0.1)
        return F.leaky_relu(F.pixel_shuffle(self.second(x), 2), 0.1)

    def refine(self, features: Tensor, latents_step1: Tensor) -> Tensor:
        """Means of the step-2 places; *latents_step1* is zero at those places."""
        x = F.leaky_relu(self.context(torch.cat((features, latents_step1), 1)), 0.1)
        x = F.leaky_relu(self.middle(self.depthwise(x)), 0.1)
        return self.step2(self.depthwise2(x))  # type: ignore[no-any-return]


def checkerboard(like: Tensor) -> Tensor:
    """1 at the step-1 places of a [N, M, h, w] tensor, as [1, M, h, w]."""
    _, m, h, w = like.shape
    rows = torch.arange(h, device=like.device)[:, None]
    columns = torch.arange(w, device=like.device)[None, :]
    even = ((rows + columns) % 2 == 0).to(like.dtype)  # [h, w]
    half = (torch.arange(m, device=like.device) % 2 == 0).to(like.dtype)[:, None, None]
    return (half * even + (1 - half) * (1 - even))[None]


class QuantisedLayer(nn.Module):
    """
    One 1x1 layer of the exact scale network, trained through its own integer arithmetic.

    The float weight times 2^shift, rounded to -127..127, is the integer weight; activations are integers.
    """

    def __init__(self, c_in: int, c_out: int, shift: int, spread: float) -> None:
        super().__init__()
        self.shift = shift
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 1, 1) * spread)

    def integer_weight(self) -> Tensor:
        return round_ste(clamp_ste(self.weight * 2.0**self.shift, -127, 127))

    def forward(self, a: Tensor, bias: Tensor | None = None) -> Tensor:
        """Integer activations in, floor((W a + B) / 2^shift + 1/2) out, not yet clamped."""
        acc = F.conv2d(a, self.integer_weight())
        if bias is not None:
            acc = acc + bias
        return round_ste(acc * 2.0**-self.shift)


class ScaleNetwork(nn.Module):
    """z and qp to scale indices 0..63 per latent, in exact integers (anchors: design law 1)."""

    HIDDEN1, HIDDEN2 = 64, 96
    BIAS_UNIT = 16.0
    "Biases are learned in units of this many activation steps, so that one learning rate suits all."

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
        """Integer biases (accumulator units for layers 1 and 2, indices for layer 3)."""
        b1 = round_ste(interpolate(self.bias1, qp) * self.BIAS_UNIT * 2.0**self.layer1.shift)
        b2 = round_ste(self.bias2 * self.BIAS_UNIT * 2.0**self.layer2.shift)
        b3 = round_ste(interpolate(self.bias3, qp) * self.BIAS_UNIT)
        return b1[:, :, None, None], b2[None, :, None, None], b3[:, :, None, None]

    def forward(self, z: Tensor, qp: Tensor) -> Tensor:
        """z [N, Cz, h64, w64] integers, qp [N] -> indices [N, M, h16, w16], before the clamp to 0..63."""
        b1, b2, b3 = self.biases(qp)
        a = clamp_ste(self.layer1(z, b1), 0, 255)
        a = clamp_ste(self.layer2(F.pixel_shuffle(a, 2), b2), 0, 255)
        return self.layer3(F.pixel_shuffle(a, 2)) + b3


class HyperPrior(nn.Module):
    """Rate of z: a discretised logistic mixture of two per channel and qp, frozen into tables at export."""

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        cz = tier.hyper_latents
        self.location = nn.Parameter(torch.zeros(QP_ANCHORS, cz))
        self.log_scale = nn.Parameter(torch.full((QP_ANCHORS, cz), -0.5))
        self.log_wide = nn.Parameter(torch.full((QP_ANCHORS, cz), 1.0))
        self.mix = nn.Parameter(torch.full((QP_ANCHORS, cz), -1.5))

    def probability(self, z: Tensor, qp: Tensor) -> Tensor:
        """P(z) elementwise; z [N, Cz, h, w], qp [N]."""

        def at(table: Tensor) -> Tensor:
            return interpolate(table, qp)[:, :, None, None]

        narrow = logistic_mass(z - at(self.location), at(self.log_scale).exp())
        wide = logistic_mass(z - at(self.location), at(self.log_wide).exp())
        part = torch.sigmoid(at(self.mix))
        return narrow * (1 - part) + wide * part


def logistic_mass(centred: Tensor, scale: Tensor) -> Tensor:
    """Mass of [x - 1/2, x + 1/2] under a logistic with mean 0; stable in both tails."""
    x = centred.abs()
    return torch.sigmoid((0.5 - x) / scale) - torch.sigmoid((-0.5 - x) / scale)


def index_to_scale(index: Tensor) -> Tensor:
    """Logistic scale of a (possibly fractional) index, log-linear."""
    ratio = SCALE_MAX / SCALE_MIN
    return SCALE_MIN * ratio ** (index / (SCALE_LEVELS - 1))


def pack_planes(y: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Planes [N, 1, H, W], [N, 1, H/2, W/2] twice, one scale -> x [N, 384, H/16, W/16]."""
    return torch.cat(
        (F.pixel_unshuffle(y, 16), F.pixel_unshuffle(u, 8), F.pixel_unshuffle(v, 8)), 1
    )


def unpack_planes(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Invert `pack_planes`."""
    y, u, v = x.split((256, 64, 64), 1)
    return F.pixel_shuffle(y, 16), F.pixel_shuffle(u, 8), F.pixel_shuffle(v, 8)


@dataclass(slots=True)
class Coded:
    """What one training pass yields."""

    x_hat: Tensor
    "[N, 384, h16, w16], sample values / 255 - 0.5."

    bits_y: Tensor
    bits_z: Tensor
    "[N] estimated bits."

    symbols: Tensor
    z: Tensor
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
        self.encoder_trunk_gain = QpVector(tier.channels)
        self.encoder_gain = QpVector(tier.latents)
        self.decoder_gain = QpVector(tier.latents)
        self.decoder_trunk_gain = QpVector(tier.channels)
        self.decoder_head_gain = QpVector(tier.channels)

    def gains(self, qp: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Gains of encoder trunk, encoder latents, decoder latents, decoder trunk and decoder head, each [N, K]."""
        step = qp_to_step(qp.float())[:, None]
        root = (step / 20.0).sqrt()
        return (
            self.encoder_trunk_gain(qp),
            self.encoder_gain(qp) * (255.0 / step),
            self.decoder_gain(qp) * (step / 255.0),
            self.decoder_trunk_gain(qp) / root,
            self.decoder_head_gain(qp) * root,
        )

    def forward(self, x: Tensor, qp: Tensor) -> Coded:
        """x [N, 384, h16, w16] in -0.5..0.5, qp [N] float or int in 0..63 -> Coded."""
        enc_trunk, enc_gain, dec_gain, dec_trunk, dec_head = (
            g[:, :, None, None] for g in self.gains(qp)
        )
        latents = self.analysis(x, enc_trunk, enc_gain)
        with torch.autocast(x.device.type, enabled=False):
            latents = latents.float()
            z_raw = self.hyper_analysis(latents)
            z = clamp_ste(round_ste(z_raw), -Z_LIMIT, Z_LIMIT)
            index = self.scale_network(z, qp)
            mask = (index.detach() >= 1).float()
            features = self.means.features(z)
            means = self.means.step1(features)
            first = checkerboard(latents)
            residual1 = (latents - means) * first
            symbols1 = round_ste(residual1) * mask
            refined = self.means.refine(features, (symbols1 + means) * first)
            means = torch.where(first > 0, means, refined)
            residual = latents - means
            symbols = round_ste(residual) * mask
            noisy = (
                residual + torch.rand_like(residual) - 0.5 if self.training else round_ste(residual)
            )
            scale = index_to_scale(clamp_ste(index, 0.0, SCALE_LEVELS - 1.0))
            mass = logistic_mass(noisy, scale)
            bits_y = (
                -torch.log2(mass.clamp_min(2.0**-20))
                + (noisy.abs() - 20 * scale).clamp_min(0) * 0.02
            )
            bits_z = -torch.log2(
                self.hyper_prior.probability(
                    z_raw + torch.rand_like(z_raw) - 0.5 if self.training else z, qp
                ).clamp_min(2.0**-16)
            )
            latents_hat = symbols + means
        x_hat = self.synthesis(latents_hat, dec_gain, dec_trunk, dec_head)
        return Coded(x_hat, bits_y.sum((1, 2, 3)), bits_z.sum((1, 2, 3)), symbols, z, index)
