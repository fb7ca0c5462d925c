"""
Frames predicted from themselves, on the host: what every engine does with them.

    blocks --choose--> modes, latents --hyper-analysis--> z --exact scale network--> indices
    blocks, modes, indices --quantise--> symbols --paint, smooth--> blocks

All of it is C, integers once symbols are chosen. No device, no states.
"""

import numpy as np
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.engine.api import EncodeJob, EncodeOutput
from rtcodec.errors import LocalProtocolError
from rtcodec.motion import within
from rtcodec.motion.hyper import HyperAnalysis
from rtcodec.motion.native import BLOCK_SAMPLES, INTRA, QUARTERS, WHOLE, Fine, Steps, smooth
from rtcodec.motion.smoothing import limits
from rtcodec_engines.part import scales_of, steps_of


class SpatialFrames:
    """What one model does with them."""

    def __init__(self, bundle: Bundle) -> None:
        """
        Args:
            bundle: The model, whether it has such frames or not.
        """
        self._name, self._part = bundle.name, bundle.spatial
        self._hyper = None if self._part is None else HyperAnalysis(self._part.tensors)

    @property
    def exist(self) -> bool:
        """Whether the model has any."""
        return self._part is not None

    def encode(self, blocks: NDArray[np.uint8], job: EncodeJob) -> EncodeOutput:
        """Return the integers of a job's frame, uint8 [4 Th, 4 Tw, 384], without a picture."""
        assert self._part is not None
        assert self._hyper is not None
        part, steps = self._part, steps_of(self._part, job.qp)
        choice = within.choose(blocks, steps, thorough=job.thorough, across_tiles=job.across_tiles)
        said = within.mode_symbols(choice.modes, choice.latents.split)
        tiles, z_of_tiles = self._hyper.describe(choice.latents, said)
        # No map says which tiles are coded: those of which nothing is said are, too, with z of 0.
        z_of_all = np.zeros((said[::4, ::4, 0].size, part.hyper_channels), np.int8)
        z_of_all[tiles] = z_of_tiles
        all_tiles = np.arange(len(z_of_all), dtype=np.uint32)
        z, indices = scales_of(part, all_tiles, z_of_all, job.qp, said.shape[:2])
        symbols = within.quantise(
            blocks, choice, indices, part.tensor("rounding"), part.tensor("contexts"), steps
        )
        last = (2, 0, 1)
        return EncodeOutput(
            z, symbols.transpose(last), indices.transpose(last),
            is_spatial=True, across_tiles=job.across_tiles,
        )  # fmt: skip

    def paint(self, symbols: NDArray[np.int16], qp: int, *, across_tiles: bool) -> Fine:
        """
        Return the blocks of symbols int16 [394, 4 Th, 4 Tw], the same on every machine.

        Raises:
            LocalProtocolError: If the model has no such frames.
        """
        if self._part is None:
            raise LocalProtocolError(f"model {self._name} predicts no frame from itself")
        in_order = np.ascontiguousarray(symbols.transpose(1, 2, 0))
        return paint(in_order, steps_of(self._part, qp), across_tiles=across_tiles)


def paint(symbols: NDArray[np.int16], steps: Steps, *, across_tiles: bool) -> Fine:
    """As `SpatialFrames.paint`, of symbols [4 Th, 4 Tw, 394]."""
    blocks, coded = within.paint(symbols, steps, across_tiles=across_tiles)
    places = coded.shape
    vectors = np.zeros((*places, QUARTERS, 2), np.int16)
    large = symbols[..., BLOCK_SAMPLES + within.LARGE_CHANNEL] != 0
    alone = np.where(large, np.uint8(INTRA | WHOLE), np.uint8(INTRA))
    smooth(blocks, coded, vectors, alone, np.zeros(places, np.bool_), limits(steps))
    return blocks
