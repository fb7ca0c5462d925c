"""
What symbols cost with the tables that export will fit, for training: a logistic misses it by far.

Nearly all symbols of delta frames are zero, and the others have longer tails than a logistic of the
same index; tables that are counted save a seventh. So training counts as it goes, and asks
of the networks what those tables would take.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rtcodec.entropy.cdf import PROB_BITS, PROB_SCALE, y_tables_from_histograms
from rtcodec.entropy.contexts import READ_FROM
from rtcodec.models.layer import clamp_ste
from rtcodec.models.prior import index_to_scale, logistic_mass
from rtcodec.models.tier import SCALE_LEVELS

HISTOGRAM_RADIUS = 127
PRIOR_COUNTS = 400
"Weight, in symbols, of the trained distribution in each fitted table; steadies the rare ones."

FIRST_RENEWAL, RENEWALS = 20, 100
"Batches until the tables are fitted for the first time, and from then on."

COUNTED = 4
"One of so many batches is counted."

FADE = 0.7
"What is left of earlier counts at a renewal."

LOST_BITS = 16.0
"""What a symbol other than 0 costs where it is not read: about what its error is worth. Made
relative to the tables it would starve them: the fewer are read, the dearer is what is."""

_WIDTH = 2 * HISTOGRAM_RADIUS + 1

Counts = NDArray[np.int64]


class SymbolCosts(nn.Module):
    """Bits of symbols by scale index, counted."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Tensor
        self.bits: Tensor
        self.slopes: Tensor
        counts = torch.zeros(SCALE_LEVELS, _WIDTH, dtype=torch.int64)
        self.register_buffer("counts", counts, persistent=False)
        bits = bits_of(np.zeros(counts.shape, np.int64))
        self.register_buffer("bits", bits, persistent=False)
        self.register_buffer("slopes", _slopes(bits), persistent=False)
        self.left = FIRST_RENEWAL

    def forward(self, symbols: Tensor, index: Tensor) -> Tensor:
        """
        Bits of *symbols*, elementwise; gradients reach *index*.

        Args:
            symbols: Integers as floats.
            index: Like *symbols*, integers as floats; below 1 is not coded.
        """
        index = clamp_ste(index, 0.0, SCALE_LEVELS - 1.0)
        width = self.bits.shape[1]
        column = symbols.detach().abs().clamp(max=HISTOGRAM_RADIUS)
        at = (index.detach() * width + column).to(torch.int32).flatten()
        bits = self.bits.flatten()[at].view_as(index)
        if not torch.is_grad_enabled():
            return bits
        slope = self.slopes.flatten()[at].view_as(index)
        return bits + (index - index.detach()) * slope

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    @torch.no_grad()
    def count(self, symbols: Tensor, index: Tensor, told: Tensor) -> None:
        """Take note of a batch: *symbols* with *index* of 1 and more where *told* is not 0."""
        if not self.left:  # tables are kept
            return
        self.left -= 1
        if self.left % COUNTED:
            return
        row = (index * told).clamp(0, SCALE_LEVELS - 1)  # what is not told goes to row 0, unused
        column = symbols.clamp(-HISTOGRAM_RADIUS, HISTOGRAM_RADIUS) + HISTOGRAM_RADIUS
        at = (row * _WIDTH + column).to(torch.int32).flatten()
        self.counts += torch.bincount(at, minlength=self.counts.numel()).view_as(self.counts)
        if not self.left:
            self.left = RENEWALS
            self._set(bits_of(self.counts.cpu().numpy()))
            self.counts = (self.counts * FADE).long()

    def keep(self, y_cdf: NDArray[np.uint16]) -> None:
        """Cost what the tables of a model do, and stay with that: indices keep their meaning."""
        self._set(_bits_of_tables(y_cdf))
        self.left = 0

    def follow(self, other: "SymbolCosts") -> None:
        """Cost what *other* does."""
        self._set(other.bits)

    def _set(self, bits: Tensor) -> None:
        self.bits = bits.to(self.bits.device)
        self.slopes = _slopes(self.bits)


def _slopes(bits: Tensor) -> Tensor:
    """
    What an index more would cost, by both neighbours; from 0 on by the first that is read.

    A zero that is not read pulls nowhere: it would pull down for ever, and z would have to grow to
    bring such an index up again.
    """
    slopes = (torch.cat((bits[1:], bits[-1:])) - torch.cat((bits[:1], bits[:-1]))) / 2
    slopes[0] = (bits[READ_FROM] - bits[0]) / READ_FROM
    slopes[0, 0] = 0
    return slopes


def bits_of(counts: Counts) -> Tensor:
    """Bits by index and modulus, float32 [64, 128], of tables fitted to *counts* [64, 255]."""
    return _bits_of_tables(y_tables_from_histograms(blend(counts + counts[:, ::-1], y_prior())))


def _bits_of_tables(y_cdf: NDArray[np.uint16]) -> Tensor:
    """The same of cumulative tables."""
    cdf = y_cdf.astype(np.int64)
    out = np.zeros((SCALE_LEVELS, HISTOGRAM_RADIUS + 1), np.float32)
    moduli = np.arange(HISTOGRAM_RADIUS + 1)
    for index in range(1, SCALE_LEVELS):
        radius = (int((cdf[index, :-1] < PROB_SCALE).sum()) - 2) // 2
        bits = PROB_BITS - np.log2(np.diff(cdf[index])[: 2 * radius + 2])
        escaped = bits[-1] + 5 + np.floor(np.log2(np.maximum(moduli - radius, 1)))
        out[index] = np.where(
            moduli <= radius, bits[np.minimum(radius + moduli, 2 * radius)], escaped
        )
    out[0, 1:] = LOST_BITS  # a zero that is not read costs nothing
    return torch.from_numpy(out)


def y_prior() -> NDArray[np.float64]:
    """The logistic of each scale index as [64, 255]."""
    scales = index_to_scale(torch.arange(SCALE_LEVELS).float())
    places = torch.arange(-HISTOGRAM_RADIUS, HISTOGRAM_RADIUS + 1).float()
    return logistic_mass(places[None], scales[:, None]).double().numpy()  # type: ignore[no-any-return]


def blend(counts: Counts, prior: NDArray[np.float64]) -> Counts:
    """Counts plus PRIOR_COUNTS of the prior, in 1/256 counts."""
    share = prior / prior.sum(-1, keepdims=True)
    return counts * 256 + np.round(share * (PRIOR_COUNTS * 256)).astype(np.int64)
