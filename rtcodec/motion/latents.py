"""
From samples to symbols of delta frames, in C: the encoder's half of the transform.

Nearly all latents are below half a step and never coded, so what is not is listed, and nothing
after the transform looks at the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.library import address
from rtcodec.motion.native import BLOCK_SAMPLES, Fine, Steps, check_blocks, library

LEAST = 0.5
"Modulus from which on a latent is listed: offsets of a quantiser are not above 1/2."


@dataclass(frozen=True, slots=True, eq=False)
class Latents:
    """The latents of a delta frame that may come to something, place by place."""

    at: NDArray[np.uint32]
    "Place * 384 + channel, [K]; those of a part of a place follow each other."

    values: NDArray[np.float32]
    "In steps, [K], moduli from `LEAST` on."

    ends: NDArray[np.uint32]
    "Where those of each place end, [h16, w16]."

    split: NDArray[np.uint8]
    "1 where luma is in 4x4, [h16, w16]."


def transform(blocks: NDArray[np.uint8], prediction: Fine, steps: Steps) -> Latents:
    """
    List the latents of *blocks* less their *prediction*, in steps, in the cheaper transform.

    Args:
        blocks: uint8 [h16, w16, 384].
        prediction: From `Reference.predict`.
        steps: Of luma and of chroma.
    """
    places = blocks.shape[:2]
    for array, kind in ((blocks, np.uint8), (prediction, np.uint16)):
        check_blocks(array, kind, places)
    at, values = np.empty(blocks.size, np.uint32), np.empty(blocks.size, np.float32)
    ends, split = np.empty(places, np.uint32), np.empty(places, np.uint8)
    as_floats = np.asarray(steps, np.float32)
    count = library().rtc_transform(
        address(blocks), address(prediction), address(as_floats), places[0] * places[1],
        address(at), address(values), address(ends), address(split),
    )  # fmt: skip
    return Latents(at[:count], values[:count], ends, split)


def quantise(
    latents: Latents,
    indices: NDArray[np.uint8],
    rounding: NDArray[np.float32],
    offsets: NDArray[np.int8],
    symbols: NDArray[np.int16],
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """
    Write the symbols of *latents*: as `rtcodec.models.contexts.Contexts.quantise`.

    Args:
        latents: From `transform`.
        indices: Scale indices [h16, w16, K], K >= 384; the first 384 are of latents.
        rounding: [64], by index; see `rtcodec.models.prior.rounding_offsets`.
        offsets: Those of contexts, int8 [30, 16], `rtcodec.entropy.contexts`.
        symbols: Like *indices*, zeros; what is not 0 is written.

    Returns:
        Where in *symbols* that is, and what the latents were.
    """
    for array, kind in ((indices, np.uint8), (symbols, np.int16)):
        if array.dtype != kind or not array.flags.c_contiguous or array.ndim != 3:
            raise ValueError(f"{array.dtype} {array.shape} is no {kind.__name__} in order")
    stride = indices.shape[2]
    if indices.shape != symbols.shape or indices.shape[:2] != latents.ends.shape:
        raise ValueError("latents, indices and symbols do not fit")
    if stride < BLOCK_SAMPLES or rounding.shape != (64,) or rounding.dtype != np.float32:
        raise ValueError("latents, indices and rounding do not fit")
    if offsets.shape != (30, 16) or offsets.dtype != np.int8:
        raise ValueError(f"offsets of contexts are {offsets.dtype} {offsets.shape}")
    size = latents.at.size
    said, meant = np.empty(size, np.uint32), np.empty(size, np.float32)
    rounding, offsets = np.ascontiguousarray(rounding), np.ascontiguousarray(offsets)
    count = library().rtc_quantise(
        address(latents.at), address(latents.values), size, address(indices), address(rounding),
        address(offsets), stride, address(symbols), address(said), address(meant),
    )  # fmt: skip
    return said[:count], meant[:count]
