"""
A frame number drawn into the picture, to check every other way of counting.

8x4 squares in the upper left corner: 24 bits of counter, 8 bits of check,
most significant first, dark for 0 and bright for 1. It survives VP8 and the
neural codec at any rate; it spoils a corner, so it is drawn only if asked for.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from rtcodec.errors import ConfigError
from rtcodec.types import Planes

_COLUMNS: Final = 8
_ROWS: Final = 4
_SQUARE_PX: Final = 12
WIDTH_PX: Final = _COLUMNS * _SQUARE_PX
HEIGHT_PX: Final = _ROWS * _SQUARE_PX
COUNTER_MAX: Final = (1 << 24) - 1

_DARK, _BRIGHT, _GREY = 32, 220, 128


def draw_barcode(planes: Planes, number: int) -> Planes:
    """
    Return a copy of the picture with *number* (modulo 2**24) in its corner.

    Raises:
        ConfigError: If the picture is smaller than the code, 96x48.
    """
    if planes.width < WIDTH_PX or planes.height < HEIGHT_PX:
        raise ConfigError(
            f"{planes.width}x{planes.height} is too small for a {WIDTH_PX}x{HEIGHT_PX} barcode"
        )
    number &= COUNTER_MAX
    word = number << 8 | _check(number)
    bits = np.array([word >> shift & 1 for shift in range(31, -1, -1)], np.uint8)
    squares = np.where(bits, _BRIGHT, _DARK).astype(np.uint8).reshape(_ROWS, _COLUMNS)
    y, u, v = planes.y.copy(), planes.u.copy(), planes.v.copy()
    y[:HEIGHT_PX, :WIDTH_PX] = squares.repeat(_SQUARE_PX, 0).repeat(_SQUARE_PX, 1)
    for chroma in (u, v):
        chroma[: HEIGHT_PX // 2, : WIDTH_PX // 2] = _GREY
    return Planes(y=y, u=u, v=v)


def read_barcode(planes: Planes) -> int | None:
    """Return the number in the corner, or None if there is no sound code."""
    if planes.width < WIDTH_PX or planes.height < HEIGHT_PX:
        return None
    corner = planes.y[:HEIGHT_PX, :WIDTH_PX].astype(np.float32)
    squares = corner.reshape(_ROWS, _SQUARE_PX, _COLUMNS, _SQUARE_PX)
    inner = squares[:, 3:-3, :, 3:-3].mean(axis=(1, 3))  # [rows, columns]
    word = _word(inner > (_DARK + _BRIGHT) / 2)
    number, check = word >> 8, word & 0xFF
    return number if check == _check(number) else None


def _word(bits: npt.NDArray[np.bool_]) -> int:
    word = 0
    for bit in bits.ravel():
        word = word << 1 | int(bit)
    return word


def _check(number: int) -> int:
    """Mix the bytes so that flat corners, all 0 or all 1, are no valid code."""
    return (number * 0x9E3779B1 + 0x5A << 3) >> 11 & 0xFF ^ 0xA7
