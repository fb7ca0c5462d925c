"""
Planes of a picture to blocks and back, in C, with the padding and the cropping.

`rtcodec.engine.blocks` has the plain form.
"""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.library import address
from rtcodec.motion.native import BLOCK_PX, BLOCK_SAMPLES, Fine, check_blocks, library
from rtcodec.types import Planes, tile_grid


class _Picture(ctypes.Structure):
    """`rtc_picture`."""

    _fields_ = (
        ("plane", ctypes.c_void_p * 3),
        ("stride", ctypes.c_ssize_t * 3),
        ("height", ctypes.c_uint32),
        ("width", ctypes.c_uint32),
    )


def fill_blocks(planes: Planes, blocks: NDArray[np.uint8]) -> None:
    """Write *planes* into *blocks*, uint8 [h16, w16, 384]; edges are repeated to fill them."""
    rows, columns = blocks.shape[:2]
    check_blocks(blocks, np.uint8, (rows, columns))
    if rows * BLOCK_PX < planes.height or columns * BLOCK_PX < planes.width:
        raise ValueError(f"{planes.width}x{planes.height} is more than {rows} x {columns} blocks")
    arrays = [np.ascontiguousarray(plane) for plane in (planes.y, planes.u, planes.v)]
    picture = _picture(arrays)
    library().rtc_blocks_fill(ctypes.addressof(picture), rows, columns, address(blocks))


def blocks_of(planes: Planes) -> NDArray[np.uint8]:
    """Return *planes* as blocks of whole tiles, uint8 [4 Th, 4 Tw, 384], edges repeated."""
    rows, columns = tile_grid(planes.width, planes.height)
    blocks = np.empty((4 * rows, 4 * columns, BLOCK_SAMPLES), np.uint8)
    fill_blocks(planes, blocks)
    return blocks


def planes_of(blocks: Fine, width: int, height: int) -> Planes:
    """Return new planes of *width* x *height* from `Fine` blocks, rounded to bytes."""
    rows, columns = blocks.shape[:2]
    check_blocks(blocks, np.uint16, (rows, columns))
    if not (0 < height <= rows * BLOCK_PX and 0 < width <= columns * BLOCK_PX):
        raise ValueError(f"{rows} x {columns} blocks do not hold {width}x{height}")
    half = ((height + 1) // 2, (width + 1) // 2)
    arrays = [np.empty(shape, np.uint8) for shape in ((height, width), half, half)]
    picture = _picture(arrays)
    library().rtc_planes_fill(address(blocks), columns, ctypes.addressof(picture))
    return Planes(*arrays)


def _picture(arrays: list[NDArray[np.uint8]]) -> _Picture:
    return _Picture(
        (ctypes.c_void_p * 3)(*map(address, arrays)),
        (ctypes.c_ssize_t * 3)(*(array.shape[1] for array in arrays)),
        *arrays[0].shape,
    )
