"""What a model's part for delta frames or for spatial frames says of one at some qp."""

import numpy as np
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.entropy.native_tiles import scatter_tiles, tile_indices
from rtcodec.entropy.tile import scatter_hyper
from rtcodec.motion.native import Steps


def steps_of(part: Bundle, qp: int) -> Steps:
    """Steps of luma and of chroma at a qp."""
    luma, chroma = (int(step) for step in part.steps[qp])
    return luma, chroma


def scales_of(
    part: Bundle,
    tiles: NDArray[np.uint32],
    hyper: NDArray[np.int8],
    qp: int,
    places: tuple[int, ...],
) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """Spread z of some tiles over a frame, with the scale indices, channels last; 0 elsewhere."""
    h, w = places
    z = np.zeros((part.hyper_channels, h // 4, w // 4), np.int8)
    scatter_hyper(hyper, tiles, z)
    indices = np.zeros((h, w, part.latent_channels), np.uint8)
    scatter_tiles(tile_indices(part.scale_net, hyper, qp), tiles, indices.transpose(2, 0, 1))
    return z, indices
