"""
Contexts of delta frames in torch: `rtcodec.entropy.contexts` with offsets that are learned.

The levels come from symbols, so no gradient goes through them; it reaches the offsets alone.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rtcodec.entropy.contexts import (
    CAPPED,
    CHANNELS,
    COUNT_LEVELS,
    DIAGONALS,
    ENERGY_LEVELS,
    FREQUENCIES,
    KINDS,
    LEVELS,
    LUMA_PARTS,
    MOTION,
    MOVED_LEVELS,
    OFFSET_MAX,
    PARTS,
    READ_FROM,
    RESIDUAL,
    SIZE_LEVELS,
    SPLIT_LEVELS,
    STAGES,
    kind_of,
)
from rtcodec.models.layer import clamp_ste
from rtcodec.models.tier import SCALE_LEVELS

REACH = 6.0
"""How far below the first table an index may be and still be pulled up, in training. What is
further away learns from its neighbours in the weights: pulled at without an answer, weights grew
until they were all that z said anything about."""


class Contexts(nn.Module):
    """Offsets of scale indices by what is around a symbol."""

    UNIT = 8.0
    "Offsets are learned in this many indices, so that one learning rate suits all."

    def __init__(self) -> None:
        super().__init__()
        self.offsets = nn.Parameter(torch.zeros(KINDS, LEVELS))
        self.kinds: Tensor
        kinds = torch.tensor([kind_of(channel) for channel in range(CHANNELS)])
        self.register_buffer("kinds", kinds[:, None, None], persistent=False)

    def integers(self) -> Tensor:
        """[KINDS, LEVELS], integers as floats."""
        offsets = clamp_ste(self.offsets * self.UNIT, -OFFSET_MAX, OFFSET_MAX)
        return offsets.detach().round() + (offsets - offsets.detach())

    def table(self) -> NDArray[np.int8]:
        """The same as a bundle has them."""
        return self.integers().detach().to(torch.int8).cpu().numpy()

    def forward(self, index: Tensor, symbols: Tensor) -> tuple[Tensor, Tensor]:
        """
        Scale indices moved by their contexts.

        Args:
            index: [N, 394, h16, w16], integers as floats; below 1 is not coded, and stays.
            symbols: Like *index*, integers as floats.

        Returns:
            Indices up to 63, below 1 where nothing is coded, in training below READ_FROM; and 0
            where that holds whatever the index is: where there is no luma, no transform is chosen.
        """
        with torch.no_grad():
            levels = levels_of(symbols)
        moved = index + self.integers().flatten()[self.kinds * LEVELS + levels]
        asked = torch.ones_like(index)
        asked[:, -1] = (luma_count(symbols) > 0).to(index.dtype)
        if self.training:
            moved = torch.where(index >= 1, moved, torch.minimum(index, moved))
            return clamp_ste(moved, 0.0, SCALE_LEVELS - 1.0, REACH), asked
        table = moved.clamp(1.0, SCALE_LEVELS - 1.0)
        table[:, :RESIDUAL] *= table[:, :RESIDUAL] >= READ_FROM
        return torch.where(index >= 1, table, index), asked

    @torch.no_grad()
    def quantise(
        self, latents: Tensor, index: Tensor, offsets: Tensor, *, skipping: bool = True
    ) -> Tensor:
        """
        Integer symbols of *latents*, diagonal by diagonal: as `rtcodec.motion.latents.quantise`.

        Args:
            latents: [N, 384, h16, w16], in steps.
            index: Like *latents*, of the scale network.
            offsets: By index, see `rtcodec.models.prior.rounding_offsets`.
            skipping: Whether what the index says is not coded is 0; else as if it were coded.
        """
        n, _, h, w = latents.shape
        symbols, table = torch.empty_like(latents), self.integers().long().flatten()
        energy = torch.zeros(n, PARTS, h, w, dtype=torch.int32, device=latents.device)
        for first, end in STAGES[:DIAGONALS]:
            levels = _level(energy, ENERGY_LEVELS).repeat(1, (end - first) // PARTS, 1, 1)
            moved = index[:, first:end] + table[self.kinds[first:end] * LEVELS + levels]
            moved = moved.clamp(1 if skipping else READ_FROM, SCALE_LEVELS - 1).long()
            x = latents[:, first:end]
            sizes = (x.abs() + offsets[moved]).floor().clamp_min(0)
            if skipping:
                sizes *= (index[:, first:end] >= 1) & (moved >= READ_FROM)
            symbols[:, first:end] = x.sign() * sizes
            parts = sizes.to(torch.int32).clamp(max=CAPPED).reshape(n, -1, PARTS, h, w)
            energy = energy + 16 * parts.sum(1, dtype=torch.int32) - (energy >> 2)
        return symbols


def levels_of(symbols: Tensor) -> Tensor:
    """Levels of integers [N, 394, h16, w16], like them; see `rtcodec.entropy.contexts`."""
    n, _, h, w = symbols.shape
    moduli = symbols.detach().abs().to(torch.int32)
    parts = moduli[:, :RESIDUAL].reshape(n, FREQUENCIES, PARTS, h, w)
    levels = torch.empty(symbols.shape, dtype=torch.int64, device=symbols.device)
    energy = torch.zeros_like(parts[:, 0])
    for first, end in STAGES[:DIAGONALS]:
        latents = (end - first) // PARTS
        levels[:, first:end] = _level(energy, ENERGY_LEVELS).repeat(1, latents, 1, 1)
        stage = parts[:, first // PARTS : end // PARTS].clamp(max=CAPPED).sum(1, dtype=torch.int32)
        energy = energy + 16 * stage - (energy >> 2)
    motion, count = moduli[:, RESIDUAL:], luma_count(symbols)
    vector = motion[:, 0] + motion[:, 1]
    levels[:, RESIDUAL] = _level(count, COUNT_LEVELS)
    levels[:, RESIDUAL + 1] = _level(motion[:, 0], SIZE_LEVELS)
    levels[:, RESIDUAL + 2] = _level(vector, SIZE_LEVELS)
    for j in range(3, MOTION - 1):
        before = motion[:, 3:j].sum(1, dtype=torch.int32)
        level = _level(before, SIZE_LEVELS) + 5 * _level(vector, MOVED_LEVELS)
        levels[:, RESIDUAL + j] = level
    levels[:, -1] = _level(count, SPLIT_LEVELS)
    return levels


def luma_count(symbols: Tensor) -> Tensor:
    """How many symbols of a place's luma are not 0: [N, h16, w16]."""
    n, _, h, w = symbols.shape
    parts = symbols[:, :RESIDUAL].reshape(n, FREQUENCIES, PARTS, h, w)
    return (parts[:, :, :LUMA_PARTS] != 0).sum((1, 2))


def _level(values: Tensor, thresholds: tuple[int, ...]) -> Tensor:
    level = torch.zeros(values.shape, dtype=torch.int64, device=values.device)
    for threshold in thresholds:
        level += values >= threshold
    return level
