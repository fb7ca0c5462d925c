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

from rtcodec.entropy.bits import symbol_bits
from rtcodec.entropy.cdf import SAID_COUNT, y_tables_from_histograms
from rtcodec.entropy.contexts import READ_FROM, RESIDUAL
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

KINDS = 2
"Of symbols: latents, and what is said of blocks."

_WIDTH = 2 * HISTOGRAM_RADIUS + 1

Counts = NDArray[np.int64]


class SymbolCosts(nn.Module):
    """Bits of symbols by scale index, counted: those of latents, and those said of blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Tensor
        self.bits: Tensor
        self.slopes: Tensor
        counts = torch.zeros(KINDS, SCALE_LEVELS, _WIDTH, dtype=torch.int64)
        self.register_buffer("counts", counts, persistent=False)
        bits = bits_of(np.zeros(counts.shape, np.int64))
        self.register_buffer("bits", bits, persistent=False)
        self.register_buffer("slopes", _slopes(bits), persistent=False)
        self.left = FIRST_RENEWAL

    def forward(self, symbols: Tensor, index: Tensor) -> Tensor:
        """
        Bits of *symbols*, elementwise; gradients reach *index*.

        Args:
            symbols: [N, 394, h16, w16], integers as floats.
            index: Like *symbols*, integers as floats; below READ_FROM latents are not coded.
        """
        index = clamp_ste(index, 0.0, SCALE_LEVELS - 1.0)
        width = self.bits.shape[2]
        column = symbols.detach().abs().clamp(max=HISTOGRAM_RADIUS)
        at = (self._rows(index.detach()) * width + column).to(torch.int32).flatten()
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
        # What is not told goes to index 0, unused.
        row = self._rows((index * told).clamp(0, SCALE_LEVELS - 1))
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

    @staticmethod
    def _rows(index: Tensor) -> Tensor:
        """Rows of `bits`, one kind after the other."""
        said = torch.zeros(index.shape[1], dtype=index.dtype, device=index.device)
        said[RESIDUAL:] = SCALE_LEVELS
        return index + said[:, None, None]

    def _set(self, bits: Tensor) -> None:
        self.bits = bits.to(self.bits.device)
        self.slopes = _slopes(self.bits)


def _slopes(bits: Tensor) -> Tensor:
    """
    What an index more would cost, by both neighbours; from 0 on by the first that is read.

    What is said of blocks has a table for two indices: a step is two.
    """
    slopes = torch.empty_like(bits)
    for kind, step in enumerate((1, 2)):
        last, first = bits[kind, -1:].expand(step, -1), bits[kind, :1].expand(step, -1)
        after, before = torch.cat((bits[kind, step:], last)), torch.cat((first, bits[kind, :-step]))
        slopes[kind] = (after - before) / (2 * step)
    slopes[0, :READ_FROM] = (bits[0, READ_FROM] - bits[0, 0]) / READ_FROM
    return slopes


def bits_of(counts: Counts) -> Tensor:
    """Bits by kind, index and modulus, float32 [2, 64, 128], of tables fitted to *counts*."""
    return _bits_of_tables(y_tables(counts + counts[..., ::-1]))


def y_tables(counts: Counts) -> NDArray[np.uint16]:
    """Tables of an `EntropyTables`, uint16 [96, K], fitted to counts [2, 64, 255]."""
    latents, said = counts
    rows = np.concatenate((latents, said.reshape(SAID_COUNT, 2, -1).sum(1)))
    prior = y_prior()
    return y_tables_from_histograms(blend(rows, np.concatenate((prior, prior[::2]))))


def _bits_of_tables(y_cdf: NDArray[np.uint16]) -> Tensor:
    """The same of cumulative tables; without tables of what is said of blocks, alike for both."""
    bits = symbol_bits(y_cdf, HISTOGRAM_RADIUS)
    bits[:READ_FROM] = LOST_BITS
    bits[:READ_FROM, 0] = 0  # a zero that is not read costs nothing
    latents, said = bits[:SCALE_LEVELS], bits[SCALE_LEVELS:]
    return torch.from_numpy(np.stack((latents, said.repeat(2, 0) if len(said) else latents)))


def y_prior() -> NDArray[np.float64]:
    """The logistic of each scale index as [64, 255]."""
    scales = index_to_scale(torch.arange(SCALE_LEVELS).float())
    places = torch.arange(-HISTOGRAM_RADIUS, HISTOGRAM_RADIUS + 1).float()
    return logistic_mass(places[None], scales[:, None]).double().numpy()  # type: ignore[no-any-return]


def blend(counts: Counts, prior: NDArray[np.float64]) -> Counts:
    """Counts plus PRIOR_COUNTS of the prior, in 1/256 counts."""
    share = prior / prior.sum(-1, keepdims=True)
    return counts * 256 + np.round(share * (PRIOR_COUNTS * 256)).astype(np.int64)
