"""Frames predicted from themselves, on the host: what every engine does with them. No states."""

import numpy as np
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.engine.api import EncodeJob, EncodeOutput
from rtcodec.engine.part import steps_of
from rtcodec.engine.spatial_encoder import SpatialEncoder
from rtcodec.errors import LocalProtocolError
from rtcodec.motion import within
from rtcodec.motion.native import BLOCK_SAMPLES, INTRA, QUARTERS, WHOLE, Fine, Steps, smooth
from rtcodec.motion.smoothing import limits


class SpatialFrames:
    """What one model does with them."""

    def __init__(self, bundle: Bundle) -> None:
        """
        Args:
            bundle: The model, whether it has such frames or not.
        """
        self._name, self._part = bundle.name, bundle.spatial
        self._encoder = None if self._part is None else SpatialEncoder(self._part)

    @property
    def exist(self) -> bool:
        """Whether the model has any."""
        return self._part is not None

    def encode(self, blocks: NDArray[np.uint8], job: EncodeJob) -> EncodeOutput:
        """Return the integers of a job's frame, uint8 [4 Th, 4 Tw, 384], without a picture."""
        assert self._encoder is not None
        z, symbols, indices = self._encoder.encode(
            blocks, job.qp, thorough=job.thorough, across_tiles=job.across_tiles
        )
        last = (2, 0, 1)
        return EncodeOutput(
            z, symbols.transpose(last), indices.transpose(last),
            is_spatial=True, across_tiles=job.across_tiles,
            has_copies=symbols.shape[-1] > self._encoder.part.latent_channels,
        )  # fmt: skip

    def paint(self, symbols: NDArray[np.int16], qp: int, *, across_tiles: bool) -> Fine:
        """
        Return the blocks of symbols int16 [394 or 402, 4 Th, 4 Tw], the same on every machine.

        Raises:
            LocalProtocolError: If the model has no such frames.
        """
        if self._part is None:
            raise LocalProtocolError(f"model {self._name} predicts no frame from itself")
        in_order = np.ascontiguousarray(symbols.transpose(1, 2, 0))
        return paint(
            in_order,
            steps_of(self._part, qp),
            across_tiles=across_tiles,
            linear=self._part.chroma_from_luma,
        )


def paint(
    symbols: NDArray[np.int16], steps: Steps, *, across_tiles: bool, linear: bool = False
) -> Fine:
    """As `SpatialFrames.paint`, of symbols channels last; *linear* as for `within.paint`."""
    blocks, coded = within.paint(symbols, steps, across_tiles=across_tiles, linear=linear)
    places = coded.shape
    vectors = np.zeros((*places, QUARTERS, 2), np.int16)
    large = symbols[..., BLOCK_SAMPLES + within.LARGE_CHANNEL] != 0
    alone = np.where(large, np.uint8(INTRA | WHOLE), np.uint8(INTRA))
    smooth(blocks, coded, vectors, alone, np.zeros(places, np.bool_), limits(steps))
    return blocks
