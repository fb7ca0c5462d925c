"""
The transform of delta frames in plain numpy: what `native` must equal, and its basis.

Each block of 384 samples has six parts of 8x8: the quarters of its luma, u, and v. The DCT-II of a
part makes 64 latents; a block's luma may be transformed in 4x4 instead, with frequency k of half b
in the place of frequency 2k + b, each way. Latent k of part p, from low frequencies to high, is
channel 6k + p. From symbols to samples everything is integers, so a delta frame is the same to the
last bit on every machine (SPEC.md section 9.3).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtcodec.motion.native import BLOCK_SAMPLES, Fine, Steps

SIDE, PARTS, LUMA_PARTS = 8, 6, 4
FINE_MAX = 4080

DCT = np.array(
    (
        (1448, 1448, 1448, 1448, 1448, 1448, 1448, 1448),
        (2009, 1703, 1138, 400, -400, -1138, -1703, -2009),
        (1892, 784, -784, -1892, -1892, -784, 784, 1892),
        (1703, -400, -2009, -1138, 1138, 2009, 400, -1703),
        (1448, -1448, -1448, 1448, 1448, -1448, -1448, 1448),
        (1138, -2009, 400, 1703, -1703, -400, 2009, -1138),
        (784, -1892, 1892, -784, -784, 1892, -1892, 784),
        (400, -1138, 1703, -2009, 2009, -1703, 1138, -400),
    ),
    np.int64,
)
"Rows are frequencies; 4096 times the orthonormal DCT-II."


SMALL = np.zeros((SIDE, SIDE), np.int64)
"Two of four samples side by side: row 2k + b is frequency k of half b."

for _half in range(2):
    SMALL[_half::2, 4 * _half : 4 * _half + 4] = (
        (2048, 2048, 2048, 2048),
        (2676, 1108, -1108, -2676),
        (2048, -2048, -2048, 2048),
        (1108, -2676, 2676, -1108),
    )

LARGE_SIDE = 16
_AT = (2 * np.arange(LARGE_SIDE) + 1) * np.arange(LARGE_SIDE)[:, None]
LARGE = np.rint(4096 * np.cos(np.pi / 32 * _AT) * np.sqrt(np.where(_AT[:, :1] > 0, 2, 1) / 16))
LARGE = LARGE.astype(np.int64)
"Rows are frequencies; 4096 times the orthonormal DCT-II of sixteen samples."

ORDER = np.array(
    sorted(range(SIDE * SIDE), key=lambda at: (at // SIDE + at % SIDE, at // SIDE)), np.int64
)
"Coefficients, 8 * vertical + horizontal frequency, from low to high."


def dct_matrix(size: int) -> NDArray[np.float64]:
    """Return the orthonormal DCT-II, float64 [frequency, sample]."""
    k = np.arange(size)
    dct: NDArray[np.float64] = np.cos(np.pi / size * (k + 0.5) * k[:, None]) * np.sqrt(2 / size)
    dct[0] /= np.sqrt(2)
    return dct


def blocks_of(parts: NDArray[Any]) -> NDArray[Any]:
    """Parts [..., 6, 8, 8] as blocks [..., 384]."""
    shape = parts.shape[:-3]
    luma = parts[..., :LUMA_PARTS, :, :].reshape(*shape, 2, 2, SIDE, SIDE).swapaxes(-3, -2)
    chroma = parts[..., LUMA_PARTS:, :, :].reshape(*shape, 128)
    return np.concatenate((luma.reshape(*shape, 256), chroma), -1)


def basis(*, split: bool = False, large: bool = False) -> NDArray[np.float64]:
    """
    What each latent adds to a block's samples.

    Args:
        split: Whether luma is in 4x4.
        large: Whether luma is in 16x16, as in spatial frames.

    Returns:
        [384, 384]: row c for channel c; orthonormal.
    """
    whole, small = DCT / 4096, SMALL / 4096
    parts = np.zeros((SIDE * SIDE, PARTS, PARTS, SIDE, SIDE))
    for part in range(PARTS):
        one = small if split and part < LUMA_PARTS else whole
        parts[:, part, part] = np.kron(one, one)[ORDER].reshape(-1, SIDE, SIDE)
    rows = np.asarray(blocks_of(parts.reshape(BLOCK_SAMPLES, PARTS, SIDE, SIDE)), np.float64)
    if large:  # every other frequency, each way, is of one part
        for k, q in np.ndindex(SIDE * SIDE, LUMA_PARTS):
            v, h = 2 * (ORDER[k] // SIDE) + q // 2, 2 * (ORDER[k] % SIDE) + q % 2
            rows[PARTS * k + q] = 0
            rows[PARTS * k + q, : LARGE_SIDE**2] = np.outer(LARGE[v], LARGE[h]).ravel() / 4096**2
    return rows


def paint(
    symbols: NDArray[np.int16], prediction: Fine, still: NDArray[np.bool_], steps: Steps
) -> Fine:
    """As `native.paint`."""
    step = np.repeat(np.asarray(steps, np.int64), (4, 2))
    latents = symbols[..., :BLOCK_SAMPLES].astype(np.int64)
    latents = latents.reshape(*latents.shape[:-1], SIDE * SIDE, PARTS) * step
    coefficients = np.empty(latents.shape, np.int64)
    coefficients[..., ORDER, :] = np.clip(latents, -65535, 65535)
    coefficients = np.moveaxis(coefficients, -1, -2).reshape(*latents.shape[:-2], PARTS, SIDE, SIDE)
    added = inverse(coefficients)
    parted = (symbols[..., -1] != 0)[..., None, None, None] & (np.arange(PARTS) < LUMA_PARTS)[
        :, None, None
    ]
    added = np.where(parted, inverse(coefficients, split=True), added)
    painted = np.clip(prediction + blocks_of(added), 0, FINE_MAX)
    return np.asarray(np.where(still[..., None], prediction, painted), np.uint16)


def inverse(coefficients: NDArray[np.int64], *, split: bool = False) -> NDArray[np.int64]:
    """Return the samples of coefficients [..., 8, 8], vertical frequencies first."""
    rows = SMALL if split else DCT
    down = np.clip((rows.T @ coefficients + 1024) >> 11, -131071, 131071)
    return np.asarray((down @ rows + 4096) >> 13)
