"""
Frame order to tile order and back, in numpy: the reference of `native`.

A tile is a column of 4 x 4 positions through all channels (64 x 64 pixels);
tile t of a grid of Th x Tw is at row t // Tw, column t % Tw.

Dims: T tiles chosen, M latent channels, Cz hyper channels.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Latent = TypeVar("Latent", np.uint8, np.int16)


def gather_tiles(plane: NDArray[Latent], tiles: NDArray[np.uint32]) -> NDArray[Latent]:
    """
    Copy some tiles out of a frame, in coding order.

    Args:
        plane: [M, 4 * Th, 4 * Tw], in any layout; fastest with channels last in memory.
        tiles: uint32 [T], each below Th * Tw.

    Returns:
        [T, M, 16], C-contiguous.

    Raises:
        ValueError: If an argument is not as described.
    """
    rows, columns = check_plane(plane, tiles)
    blocks = plane.reshape(plane.shape[0], rows, 4, columns, 4).transpose(
        1, 3, 0, 2, 4
    )  # [Th, Tw, M, 4, 4]
    return np.ascontiguousarray(
        blocks[tiles // columns, tiles % columns].reshape(tiles.size, plane.shape[0], 16)
    )


def scatter_tiles(
    values: NDArray[Latent], tiles: NDArray[np.uint32], plane: NDArray[Latent]
) -> None:
    """
    Copy tiles into a frame; the inverse of `gather_tiles`.

    Args:
        values: [T, M, 16].
        tiles: uint32 [T], each below Th * Tw.
        plane: [M, 4 * Th, 4 * Tw] of the same dtype, written in place.

    Raises:
        ValueError: If an argument is not as described.
    """
    rows, columns = check_plane(plane, tiles)
    check_values(values, tiles, plane)
    blocks = plane.reshape(plane.shape[0], rows, 4, columns, 4).transpose(1, 3, 0, 2, 4)
    blocks[tiles // columns, tiles % columns] = values.reshape(tiles.size, plane.shape[0], 4, 4)


def gather_hyper(z: NDArray[np.int8], tiles: NDArray[np.uint32]) -> NDArray[np.int8]:
    """Copy the hyper-latents of *tiles*: int8 [Cz, Th, Tw] to C-contiguous [T, Cz]."""
    return np.ascontiguousarray(z.reshape(z.shape[0], -1)[:, tiles].T)


def scatter_hyper(values: NDArray[np.int8], tiles: NDArray[np.uint32], z: NDArray[np.int8]) -> None:
    """Copy int8 [T, Cz] into the C-contiguous *z* [Cz, Th, Tw], in place."""
    z.reshape(z.shape[0], -1)[:, tiles] = values.T


def empty_plane(channels: int, rows: int, columns: int, kind: type[Latent]) -> NDArray[Latent]:
    """Return a plane [channels, rows, columns] to fill, channels last in memory."""
    return np.empty((rows, columns, channels), kind).transpose(2, 0, 1)


def check_plane(plane: NDArray[Latent], tiles: NDArray[np.uint32]) -> tuple[int, int]:
    """Return (Th, Tw); raise ValueError unless plane and tiles fit together."""
    if plane.dtype not in (np.uint8, np.int16) or plane.ndim != 3:
        raise ValueError(f"{plane.dtype} {plane.shape} is not a plane of latents")
    rows, columns = plane.shape[1] // 4, plane.shape[2] // 4
    if plane.shape[1:] != (4 * rows, 4 * columns):
        raise ValueError(f"a plane of {plane.shape} is not made of 4 x 4 tiles")
    if tiles.dtype != np.uint32 or tiles.ndim != 1:
        raise ValueError(f"tiles are {tiles.dtype} {tiles.shape}, not uint32 [T]")
    if tiles.size and int(tiles.max()) >= rows * columns:
        raise ValueError(f"tile {int(tiles.max())} is outside {rows} x {columns} tiles")
    return rows, columns


def check_values(
    values: NDArray[Latent], tiles: NDArray[np.uint32], plane: NDArray[Latent]
) -> None:
    """Raise ValueError unless *values* are [T, M, 16] of the plane's dtype."""
    if values.dtype != plane.dtype or values.shape != (tiles.size, plane.shape[0], 16):
        raise ValueError(f"values are {values.dtype} {values.shape}, not as tiles and plane")
