"""
Plane order to coding order and back.

    plane order   [M, 4 Th, 4 Tw]            what networks see
    coding order  [Th * Tw, M, 16]           what the entropy coder sees: tile by tile
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T", bound=np.generic)


def to_coding_order(latents: NDArray[_T]) -> NDArray[_T]:
    """[M, 4 Th, 4 Tw] -> [Th * Tw, M, 16], contiguous."""
    channels, h, w = latents.shape
    return np.ascontiguousarray(
        latents.reshape(channels, h // 4, 4, w // 4, 4).transpose(1, 3, 0, 2, 4)
    ).reshape(-1, channels, 16)


def to_plane_order(coded: NDArray[_T], rows: int, columns: int) -> NDArray[_T]:
    """[rows * columns, M, 16] -> [M, 4 rows, 4 columns], contiguous."""
    channels = coded.shape[1]
    return np.ascontiguousarray(
        coded.reshape(rows, columns, channels, 4, 4).transpose(2, 0, 3, 1, 4)
    ).reshape(channels, 4 * rows, 4 * columns)


def z_to_coding_order(z: NDArray[_T]) -> NDArray[_T]:
    """[Cz, Th, Tw] -> [Th * Tw, Cz], contiguous."""
    return np.ascontiguousarray(z.reshape(z.shape[0], -1).T)


def z_to_plane_order(coded: NDArray[_T], rows: int, columns: int) -> NDArray[_T]:
    """[rows * columns, Cz] -> [Cz, rows, columns], contiguous."""
    return np.ascontiguousarray(coded.T).reshape(-1, rows, columns)
