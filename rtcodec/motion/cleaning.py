"""
The steps of a denoiser in C: average with what is predicted, shrink what does not stand out.

`denoise` has the plain forms.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.library import address
from rtcodec.motion.denoise import GAINS, Windows, noise_sums
from rtcodec.motion.native import (
    BLOCK_PX,
    BLOCK_SAMPLES,
    FINE,
    QUARTERS,
    Fine,
    Reference,
    Vectors,
    check_blocks,
    library,
)

_WINDOW_PX = 8
_PLANES = 3


class _Moved(ctypes.Structure):
    """`rtc_moved`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("vectors", "intra", "before")),
        *((name, ctypes.c_uint32) for name in ("rows", "columns")),
        ("noise", ctypes.c_uint32 * _PLANES),
    )


def average(
    wanted: NDArray[np.uint8],
    blocks: Fine,
    vectors: Vectors,
    intra: NDArray[np.uint8],
    before: NDArray[np.uint16],
    noise: Sequence[float],
) -> NDArray[np.uint16]:
    """
    Average a picture with its prediction, in place of the latter; see `denoise.average`.

    Args:
        wanted: The noisy picture, uint8 [h16, w16, 384].
        blocks: From `Reference.predict`.
        vectors: That it was predicted with.
        intra: Of the prediction.
        before: Gains of the picture that was predicted from, uint16 [h16, w16, 8].
        noise: Standard deviations of Y, U and V, in sample values, at most 64.

    Returns:
        The gains of what is now in *blocks*.
    """
    places = blocks.shape[:2]
    check_blocks(wanted, np.uint8, places)
    check_blocks(blocks, np.uint16, places)
    fits = (
        (vectors, np.int16, (*places, QUARTERS, 2)),
        (intra, np.uint8, places),
        (before, np.uint16, (*places, GAINS)),
    )
    for array, kind, shape in fits:
        if array.dtype != kind or array.shape != shape or not array.flags.c_contiguous:
            raise ValueError(f"{array.dtype} {array.shape} is no {kind.__name__} {shape} in order")
    gains = np.empty_like(before)
    sums = (ctypes.c_uint32 * _PLANES)(*noise_sums(noise))
    moved = _Moved(*(address(array) for array, _, _ in fits), *places, sums)
    library().rtc_average(ctypes.addressof(moved), address(wanted), address(blocks), address(gains))
    return gains


def shrink(
    picture: Reference,
    pilot: Reference | None,
    gains: NDArray[np.uint16],
    noise: Sequence[float] | NDArray[np.floating],
    windows: Windows,
) -> Fine:
    """
    Return a picture without what does not stand out of its noise; see `denoise.shrink`.

    Args:
        picture: The noisy one.
        pilot: A first estimate of it, if there is one.
        gains: How much of the noise is left, uint16 [h16, w16, 8].
        noise: Standard deviations of Y, U and V, in sample values, above 0; or of each coefficient
            of windows of theirs, [3, 8, 8], the same both ways.
        windows: Where the transforms lie.
    """
    rows, columns = picture.shape
    if gains.dtype != np.uint16 or gains.shape != (rows, columns, GAINS):
        raise ValueError(f"{gains.dtype} {gains.shape} are not gains of {rows} x {columns} blocks")
    if pilot is not None and pilot.shape != picture.shape:
        raise ValueError(f"a pilot of {pilot.shape} blocks does not fit {picture.shape}")
    out = np.empty((rows, columns, BLOCK_SAMPLES), np.uint16)
    gains = np.ascontiguousarray(gains)
    scratch = np.empty((2 * _WINDOW_PX, columns * BLOCK_PX + 2 * _WINDOW_PX), np.float32)
    deviations = np.empty((_PLANES, _WINDOW_PX, _WINDOW_PX), np.float32)
    deviations.T[...] = (np.asarray(noise, np.float32) * FINE).T
    library().rtc_shrink(
        picture.as_c, None if pilot is None else pilot.as_c, address(gains), address(deviations),
        windows.threshold, windows.down, windows.across, address(scratch), address(out),
    )  # fmt: skip
    return out
