"""
Frames predicted from themselves, the sending side: from a picture to the integers of a frame.

    blocks --choose--> modes, latents --hyper-analysis--> z --exact scale network--> indices
    blocks, modes, indices --quantise--> symbols

A thorough encoder goes round twice: quickly, then by what the indices of the first round say.
"""

from dataclasses import replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.engine.part import scales_of, steps_of
from rtcodec.entropy.bits import symbol_bits
from rtcodec.entropy.cdf import SCALE_COUNT, EntropyTables
from rtcodec.motion import within
from rtcodec.motion.hyper import HyperAnalysis
from rtcodec.motion.within import DEAREST, Choice, Likelihood

PRICE: Final = 0.1
"""Squared steps that a bit may save: what the dead zone of `models.spatial` asks for. Measured:
0.06 and 0.14 take 0.5 % more bits."""


class SpatialEncoder:
    """What one model's part for such frames makes of pictures."""

    def __init__(self, part: Bundle) -> None:
        """
        Args:
            part: `Bundle.spatial`.
        """
        self.part = part
        self._hyper = HyperAnalysis(part.tensors)
        self._rounding = np.ascontiguousarray(part.tensor("rounding"))
        self._offsets = np.ascontiguousarray(part.tensor("contexts"))

    @cached_property
    def _prices(self) -> NDArray[np.float32]:
        return prices_of(self.part.entropy_tables)

    def encode(
        self, blocks: NDArray[np.uint8], qp: int, *, thorough: bool, across_tiles: bool
    ) -> tuple[NDArray[np.int8], NDArray[np.int16], NDArray[np.uint8]]:
        """
        Return z int8 [Cz, Th, Tw], symbols int16 and indices uint8 [4 Th, 4 Tw, 394].

        Where parts are copies, the last two have eight channels more: those, and zeros.

        Args:
            blocks: The picture, uint8 [4 Th, 4 Tw, 384].
            qp: 0..63.
            thorough: Whether to look for the best modes, five to ten times as long.
            across_tiles: Whether parts are predicted from other tiles, too.
        """
        choice = self.choose(blocks, qp, thorough=thorough, across_tiles=across_tiles)
        z, likelihood = self._describe(choice, qp)
        symbols = within.quantise(blocks, choice, likelihood, steps_of(self.part, qp))
        indices = likelihood.indices
        if choice.copies is not None:
            indices = np.dstack((indices, np.zeros(choice.copies.shape, np.uint8)))
        return z, symbols, indices

    def choose(
        self, blocks: NDArray[np.uint8], qp: int, *, thorough: bool, across_tiles: bool
    ) -> Choice:
        """Choose how each part is predicted; as for `encode`."""
        copies = within.matches(blocks) if across_tiles else None

        def choose(likelihood: Likelihood | None) -> Choice:
            return within.choose(
                blocks,
                steps_of(self.part, qp),
                thorough=likelihood is not None,
                across_tiles=across_tiles,
                linear=self.part.chroma_from_luma,
                likelihood=likelihood,
                copies=copies,
            )

        choice = choose(None)
        if not thorough:
            return choice
        _, likelihood = self._describe(choice, qp)
        return choose(replace(likelihood, prices=self._prices))

    def _describe(self, choice: Choice, qp: int) -> tuple[NDArray[np.int8], Likelihood]:
        """Return z of all tiles, and how likely it says symbols are."""
        said = within.mode_symbols(choice.modes, choice.latents.split)
        tiles, z_of_tiles = self._hyper.describe(choice.latents, said)
        # No map says which tiles are coded: those of which nothing is said are, too, with z of 0.
        z_of_all = np.zeros((said[::4, ::4, 0].size, self.part.hyper_channels), np.int8)
        z_of_all[tiles] = z_of_tiles
        all_tiles = np.arange(len(z_of_all), dtype=np.uint32)
        z, indices = scales_of(self.part, all_tiles, z_of_all, qp, said.shape[:2])
        return z, Likelihood(indices, self._rounding, self._offsets)


def prices_of(tables: EntropyTables) -> NDArray[np.float32]:
    """Return what latents' symbols are worth, as `Likelihood.prices` has it."""
    return (symbol_bits(tables.y_cdf, DEAREST)[:SCALE_COUNT] * PRICE).astype(np.float32)
