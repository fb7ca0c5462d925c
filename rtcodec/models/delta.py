"""
Delta frames: the networks that say how likely what is coded of them is, in torch.

    d = x - prediction --DCT, 8x8 or 4x4--> latents, in steps
    latents cut to integers, motion --HyperAnalysis--> z --ScaleNetwork--> scale indices (exact)
    scale indices, symbols read before --Contexts--> indices that choose tables
    symbols = round(latents) with a dead zone, zero where the scale index is 0; motion as it is
    x_hat = prediction + DCT^-1(symbols); a tile without any symbol is its prediction, untouched

The prediction comes from `rtcodec.motion`, and so does the transform: integers, the same on both
sides and on every machine. There is no network between symbols and samples: docs/adr/020 has the
measurements. Grey predictions are allowed anywhere, so a block that nothing predicts, or a whole
new scene, is coded by the same networks where it has to be.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from rtcodec.models.contexts import REACH, Contexts, luma_count
from rtcodec.models.layer import clamp_ste, round_ste
from rtcodec.models.network import Coded
from rtcodec.models.prior import (
    HyperAnalysis,
    HyperPrior,
    ScaleNetwork,
    round_by,
    rounding_offsets,
)
from rtcodec.models.symbol_costs import SymbolCosts
from rtcodec.models.tier import (
    DELTA_LIKELY_OFFSET,
    PIXEL_CHANNELS,
    SCALE_LEVELS,
    TILE_SIDE,
    Z_LIMIT,
    Tier,
)
from rtcodec.motion.native import FINE
from rtcodec.motion.steps import step_table
from rtcodec.motion.transform import LUMA_PARTS, PARTS, basis
from rtcodec.motion.vectors import CHANNELS as MOTION_CHANNELS
from rtcodec.motion.vectors import SPLIT_CHANNEL

DEAD_ZONE = 0.07
"""As `rtcodec.models.prior.DEAD_ZONE`, and much more: what is not coded now may be coded later, and
noise need not be followed. Measured in closed loop: offsets higher or lower by 0.06 are within half
a per cent, none above 0 costs 2 %."""

LEAST_OFFSET = -0.2

MODE_OFFSET, MODE_PRICE, MODE_BITS = 0.15, 0.3, 5
"What chooses a transform: as in `_latents.c`."


def with_motion(tier: Tier) -> Tier:
    """The tier as the hyper and scale networks of delta frames see it: latents and motion."""
    return replace(tier, latents=PIXEL_CHANNELS + MOTION_CHANNELS)


class DeltaCodec(nn.Module):
    """The networks of one tier's delta frames, and the pass that trains them."""

    dead_zone, least_offset = DEAD_ZONE, LEAST_OFFSET

    def __init__(self, tier: Tier) -> None:
        super().__init__()
        self.tier = tier
        wide = with_motion(tier)
        self.hyper_analysis = HyperAnalysis(wide)
        self.scale_network = ScaleNetwork(wide)
        self.hyper_prior = HyperPrior(tier)
        self.contexts = Contexts()
        self.costs = SymbolCosts()
        with torch.no_grad():
            self.scale_network.bias3.fill_(0.6)  # nearly all symbols are zero
        self.rounding: Tensor
        self.basis: Tensor
        self.steps: Tensor
        offsets = rounding_offsets(self.dead_zone, self.least_offset)
        self.register_buffer("rounding", offsets, persistent=False)
        forms = [torch.from_numpy(rows).float() for rows in self.bases()]
        self.register_buffer("basis", torch.stack(forms), persistent=False)
        steps = torch.from_numpy(step_table()).float() / FINE
        self.register_buffer("steps", steps, persistent=False)

    @staticmethod
    def bases() -> tuple[NDArray[np.float64], ...]:
        """Of the transforms that a block may have, [384, 384]: luma in 8x8, in 4x4."""
        return basis(), basis(split=True)

    def latents(
        self, x: Tensor, prediction: Tensor, motion: Tensor, qp: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        What of *x* is not in *prediction*; see `forward`.

        Returns:
            Latents [N, 384, h16, w16] in steps, and which of `bases` they are of, integers
            [N, 1, h16, w16]: 1 where 4x4 is cheaper and says anything, as
            `rtcodec.motion.latents.transform` has it.
        """
        difference = ((x - prediction) * 255.0).permute(0, 2, 3, 1)
        forms = [
            F.linear(difference, rows).permute(0, 3, 1, 2) / self._steps_at(qp)
            for rows in self.basis
        ]
        form = self.choose_form(forms, motion)
        return _chosen(forms, form), form

    def choose_form(self, forms: Sequence[Tensor], motion: Tensor) -> Tensor:
        """Which of the latents in all transforms are coded, integers [N, 1, h16, w16]."""
        whole, small = forms
        told = luma_count(round_by(small, DELTA_LIKELY_OFFSET))[:, None] > 0
        return ((_cost(small) < _cost(whole)) & told).long()

    def forward(self, x: Tensor, prediction: Tensor, motion: Tensor, qp: Tensor) -> Coded:
        """
        Code a batch.

        Args:
            x: [N, 384, h16, w16], sample values / 255 - 0.5.
            prediction: Like *x*.
            motion: Symbols of `rtcodec.motion.vectors`, [N, 10, h16, w16] float, the last 0.
            qp: [N] in 0..63.
        """
        with torch.autocast(x.device.type, enabled=False):
            latents, form = self.latents(x, prediction, motion, qp)
            split = (form == 1).to(x.dtype)
            motion = motion[:, :SPLIT_CHANNEL]
            # What is below a step's threshold is nothing that the scales need know of.
            likely = torch.cat((round_by(latents, DELTA_LIKELY_OFFSET), motion, split), 1)
            z_raw = self.hyper_analysis(likely)
            z = clamp_ste(round_ste(z_raw), -Z_LIMIT, Z_LIMIT)
            index = self.scale_network(z, qp)
            index, of_motion = index.split((PIXEL_CHANNELS, MOTION_CHANNELS), 1)
            symbols = self.contexts.quantise(latents, index, self.rounding)
            chosen = split * (luma_count(symbols)[:, None] > 0)
            said = torch.cat((symbols, motion, chosen), 1)
            wanted = said
            if self.training:  # a 0 because nothing was coded there is no reason to code nothing
                unskipped = self.contexts.quantise(latents, index, self.rounding, skipping=False)
                wanted = torch.cat((unskipped, motion, split), 1)
            # Motion is never skipped: its index is at least 1, and its symbols are given.
            of_motion = clamp_ste(of_motion, 1.0, SCALE_LEVELS - 1.0, REACH)
            index = torch.cat((index, of_motion), 1)
            still = at_rest(said)  # of those tiles one bit is sent, and no more
            told = 1 - spread(still)
            bits_y, moved = self._bits(wanted, index, told)
            if self.training:
                self.costs.count(wanted, moved, told)
            bits_z = self.hyper_prior.bits(z_raw if self.training else z, qp, 1 - still)
            x_hat = self._paint(symbols, form, prediction, qp)
        map_bits = still[0].numel()
        bits_y = bits_y + map_bits
        return Coded(x_hat, bits_y, bits_z, bits_y.detach(), said, z, moved)

    def _bits(self, symbols: Tensor, index: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """Bits [N] of all symbols, and the indices of their tables; 0 where none is read."""
        moved, asked = self.contexts(index, symbols)
        moved = moved * asked
        bits = self.costs(symbols, moved) * told * asked
        if not self.training:
            bits = torch.where(moved >= 1, bits, 0.0)
        return bits.sum((1, 2, 3)), moved

    def _steps_at(self, qp: Tensor) -> Tensor:
        """[N, 384, 1, 1], in sample values."""
        luma, chroma = self.steps[qp.long()].unbind(1)
        parts = torch.stack((luma,) * LUMA_PARTS + (chroma,) * (PARTS - LUMA_PARTS), 1)
        return parts.repeat(1, PIXEL_CHANNELS // PARTS)[:, :, None, None]

    def _paint(self, symbols: Tensor, form: Tensor, prediction: Tensor, qp: Tensor) -> Tensor:
        """As `rtcodec.motion.transform.paint`, but for rounding."""
        rows = (symbols * self._steps_at(qp) / 255.0).permute(0, 2, 3, 1)
        forms = [F.linear(rows, basis.T).permute(0, 3, 1, 2) for basis in self.basis]
        return prediction + _chosen(forms, form)


def _chosen(forms: Sequence[Tensor], form: Tensor) -> Tensor:
    """Of tensors [N, 384, h16, w16] the one that *form* [N, 1, h16, w16] says at each place."""
    out = forms[0]
    for number, one in enumerate(forms[1:], 1):
        out = torch.where(form == number, one, out)
    return out


def _cost(latents: Tensor) -> Tensor:
    """About what luma costs, error and bits, in squared steps: [N, 1, h16, w16]."""
    n, _, h, w = latents.shape
    luma = latents.reshape(n, -1, PARTS, h, w)[:, :, :LUMA_PARTS].abs()
    symbols = (luma + MODE_OFFSET).floor()
    bits = torch.where(symbols > 0, MODE_BITS + symbols, 0.0)
    return ((luma - symbols).square() + MODE_PRICE * bits).sum((1, 2))[:, None]


def at_rest(symbols: Tensor) -> Tensor:
    """
    1 in tiles of which nothing is said, as [N, 1, h64, w64]: their prediction stays as it is.

    A still background then costs nothing, however long it stands.
    """
    said = symbols.detach().abs().amax(1, keepdim=True)
    return (F.max_pool2d(said, TILE_SIDE) == 0).to(symbols.dtype)


def spread(tiles: Tensor) -> Tensor:
    """[N, 1, h64, w64] to every place of the tiles, [N, 1, h16, w16]."""
    return F.interpolate(tiles, scale_factor=TILE_SIDE, mode="nearest")
