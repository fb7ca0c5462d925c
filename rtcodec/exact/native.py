"""
Tiles and JPEG-LS images in C, through ctypes.

Only this module calls the library, and it checks every argument before it does; payloads may be
any bytes. The GIL is released while C runs.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.exact_format import (
    ALL_STEPS,
    CLASSES_MAX,
    ENERGIES,
    GROUPS,
    PHASES,
    STEPS,
    TAPS,
    Fit,
    TileModel,
)
from rtcodec.entropy.build import EXACT_LIBRARY
from rtcodec.entropy.library import Signatures, address, load_library
from rtcodec.errors import Corrupt
from rtcodec.exact.layout import TILE_MAX

LIBRARY_VERSION: Final = 3
"What rtc_exact_version of a library built from this source returns."

Samples = NDArray[np.uint16]
"A tile [rows, columns], columns next to each other; rows may be further apart."

_NO_PAD: Final = 0xFFFFFFFF
_ITEMS: Final = 5  # of one sample, in _encode.c
_PTR, _U32 = ctypes.c_void_p, ctypes.c_uint32
_SIGNATURES: Final[Signatures] = {
    "rtc_exact_version": (_U32, ()),
    "rtc_exact_state_bytes": (_U32, ()),
    "rtc_exact_begin": (None, (_PTR,)),
    "rtc_exact_decode": (ctypes.c_int32, (_PTR, _PTR, _PTR, _U32, _PTR, _U32)),
    "rtc_exact_encode": (_U32, (_PTR, _PTR, _PTR, _U32, _PTR, _PTR, _U32)),
    "rtc_jpeg_ls_decode": (ctypes.c_int32, (_PTR, _U32, _U32, _U32, _PTR)),
}
_FAULTS: Final = {
    1: "payload ends too early",
    2: "state is too small",
    3: "a sample is beyond the bound",
    4: "bytes are left over",
    5: "a state is left over",
    6: "not a JPEG-LS image of this size, or damaged",
    7: "JPEG-LS of a form that is not decoded",
}


class _Fit(ctypes.Structure):
    """`rtc_exact_fit`."""

    _fields_ = (
        ("classes", _U32),
        ("threshold", _U32 * (CLASSES_MAX - 1)),
        ("weight", ctypes.c_int16 * TAPS * CLASSES_MAX),
        ("energy", ctypes.c_uint16 * ENERGIES),
        ("reserved", ctypes.c_uint16),
    )


class _Tile(ctypes.Structure):
    """`rtc_exact_tile`."""

    _fields_ = (
        *((name, _U32) for name in ("width", "height", "high", "pad", "max_error", "bound")),
        ("fit", _Fit * PHASES * (GROUPS + 1)),  # the last one is `refinement`
    )


@cache
def library() -> ctypes.CDLL:
    """
    Load the compiled library.

    Raises:
        ConfigError: As `load_library`.
    """
    return load_library(EXACT_LIBRARY, _SIGNATURES, LIBRARY_VERSION)


class TileCoder:
    """
    Tiles of one component, one after the other.

    Steps of a tile come in order, the coarsest grid first; `begin` starts a tile.
    """

    def __init__(self, model: TileModel) -> None:
        self._library = library()
        self._state = np.zeros(self._library.rtc_exact_state_bytes(), np.uint8)
        self._tile = _Tile(
            high=model.high,
            pad=_NO_PAD if model.pad is None else model.pad,
            max_error=model.max_error,
            bound=model.bound,
        )
        for row, fits in zip(self._tile.fit, model.fits, strict=False):
            for place, fit in zip(row, fits, strict=True):
                _fill(place, fit)
        self._at = ctypes.addressof(self._tile), address(self._state)
        self._left = 0
        self._items = np.empty(0, np.uint32)
        self._buffer = np.empty(0, np.uint8)

    def begin(self, height: int, width: int) -> None:
        """Start a tile of *height* x *width* samples, 1 to TILE_MAX each."""
        if not (0 < height <= TILE_MAX and 0 < width <= TILE_MAX):
            raise ValueError(f"a tile of {width}x{height}")
        self._tile.width, self._tile.height = width, height
        self._left = ALL_STEPS
        self._library.rtc_exact_begin(self._at[1])

    def decode(self, payload: bytes, samples: Samples) -> None:
        """
        Decode the step that comes next into *samples*, where they belong.

        Raises:
            Corrupt: If *payload* is not of such a step; the tile is then of no use.
        """
        self._take(samples)
        status = self._library.rtc_exact_decode(
            *self._at, payload, len(payload), address(samples),
            samples.strides[0] // samples.itemsize,
        )  # fmt: skip
        if status:
            self._left = 0
            raise Corrupt(_FAULTS[status], offset=len(payload) if status == 1 else 0)

    def encode(self, samples: Samples) -> bytes:
        """
        Encode the step that comes next; *samples* become what a decoder has.

        Not so those that are within a bound until the next step: they stay as they are.
        """
        self._take(samples)
        if self._tile.bound and self._left == ALL_STEPS - STEPS:
            samples = samples.copy()
        if samples.max(initial=0) > self._tile.high:
            raise ValueError(f"a sample is above {self._tile.high}")
        if self._items.size < _ITEMS * samples.size:
            self._items = np.empty(_ITEMS * samples.size, np.uint32)
            self._buffer = np.empty(4 + 2 * _ITEMS * samples.size, np.uint8)
        size = self._library.rtc_exact_encode(
            *self._at, address(samples), samples.strides[0] // samples.itemsize,
            address(self._items), address(self._buffer), self._buffer.size,
        )  # fmt: skip
        return self._buffer[self._buffer.size - size :].tobytes()

    def _take(self, samples: Samples) -> None:
        """Check the arguments of one step, and that there is one left."""
        shape = (self._tile.height, self._tile.width)
        if samples.dtype != np.uint16 or samples.shape != shape or samples.strides[1] != 2:
            raise ValueError(f"{samples.dtype} {samples.shape} is no tile of {shape}")
        if samples.strides[0] % 2 or samples.strides[0] < 2 * shape[1]:
            raise ValueError("rows of a tile overlap")
        if not self._left:
            raise ValueError("no step is left")
        self._left -= 1


def decode_jpeg_ls(image: bytes, height: int, width: int) -> Samples:
    """
    Decode a JPEG-LS image (ITU-T T.87) of one component, lossless or near-lossless.

    Args:
        image: Any bytes.
        height: That it must have, 1 to 65535.
        width: The same.

    Returns:
        [height, width], 2 to 16 bits.

    Raises:
        Corrupt: If it is no such image, or damaged.
    """
    if not (0 < height < 1 << 16 and 0 < width < 1 << 16):
        raise ValueError(f"an image of {width}x{height}")
    samples = np.empty((height, width), np.uint16)
    status = library().rtc_jpeg_ls_decode(image, len(image), width, height, address(samples))
    if status:
        raise Corrupt(_FAULTS[status], offset=len(image) if status == 1 else 0)
    return samples


def _fill(place: _Fit, fit: Fit) -> None:
    place.classes = len(fit.weights)
    place.threshold[: len(fit.thresholds)] = fit.thresholds
    for row, weights in zip(place.weight, fit.weights, strict=False):
        row[:] = weights
    place.energy[:] = fit.energies
