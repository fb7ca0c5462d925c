"""
Progressive pictures in C, through ctypes.

Only this module calls the library, and it checks every argument before it does; payloads may be
any bytes. The GIL is released while C runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.progressive_file import COMPONENTS, PIXELS_MAX, PLANES_MAX, Transform
from rtcodec.entropy.build import PROGRESSIVE_LIBRARY
from rtcodec.entropy.library import Signatures, address, load_library
from rtcodec.errors import Corrupt
from rtcodec.types import MAX_SIDE_PX

LIBRARY_VERSION: Final = 4
"What rtc_progressive_version of a library built from this source returns."

_ITEMS: Final = 3  # of a coefficient in one pass, its block's included, in _encode.c
_TRUNCATED: Final = 1
_FAULTS: Final = {2: "state is too small", 4: "bytes are left over", 5: "a state is left over"}
_PTR, _U32 = ctypes.c_void_p, ctypes.c_uint32
_SIGNATURES: Final[Signatures] = {
    "rtc_progressive_version": (_U32, ()),
    "rtc_progressive_begin": (ctypes.c_uint64, (_PTR, _U32, _U32, _U32, _U32)),
    "rtc_progressive_planes": (None, (_PTR, _U32, _U32)),
    "rtc_progressive_decode": (ctypes.c_int32, (_PTR, _PTR, _U32)),
    "rtc_progressive_paint": (None, (_PTR, _U32, _PTR)),
    "rtc_progressive_analyse": (_U32, (_PTR, _U32, _PTR)),
    "rtc_progressive_error": (ctypes.c_double, (_PTR, _U32)),
    "rtc_progressive_known": (None, (_PTR, _U32, _PTR)),
    "rtc_progressive_pass": (_U32, (_PTR, _U32, _U32, _U32, _PTR)),
    "rtc_progressive_restart": (None, (_PTR, _U32, _U32)),
    "rtc_progressive_pack": (_U32, (_PTR, _U32, _PTR, _U32)),
}

Plane = NDArray[np.uint8]
"One of a picture's planes [H, W]."

Items = NDArray[np.uint16]
"What a pass says, [N]: a bit, in bit 15, and the width of a one, of 2**14."


@cache
def library() -> ctypes.CDLL:
    """
    Load the compiled library.

    Raises:
        ConfigError: As `load_library`.
    """
    return load_library(PROGRESSIVE_LIBRARY, _SIGNATURES, LIBRARY_VERSION)


class _State:
    """A picture in memory, its planes in the order Y, U, V."""

    def __init__(self, width: int, height: int, transform: Transform, *, encodes: bool) -> None:
        if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
            raise ValueError(f"a picture of {width}x{height}")
        if width * height > PIXELS_MAX:
            raise ValueError(f"{width}x{height} is more than {PIXELS_MAX} pixels")
        self._library = library()
        half = ((height + 1) // 2, (width + 1) // 2)
        self._shapes = ((height, width), half, half)
        what = (width, height, int(transform), int(encodes))
        size = self._library.rtc_progressive_begin(None, *what)
        self._memory = np.zeros(size, np.uint8)
        self._at = address(self._memory)
        self._library.rtc_progressive_begin(self._at, *what)


class Passes(_State):
    """A picture's passes, component by component: what there is to say of it, and what it gains."""

    def __init__(self, planes: Sequence[Plane], transform: Transform) -> None:
        """
        Args:
            planes: Y [H, W], U and V, half as wide and high, rounded up.
            transform: How samples become coefficients.
        """
        height, width = planes[0].shape
        super().__init__(width, height, transform, encodes=True)
        if tuple(plane.shape for plane in planes) != self._shapes:
            raise ValueError(f"planes of {[plane.shape for plane in planes]}")
        counts: list[int] = []
        for index, plane in enumerate(planes):
            samples = np.ascontiguousarray(plane, np.uint8)
            counts.append(self._library.rtc_progressive_analyse(self._at, index, address(samples)))
            self._library.rtc_progressive_planes(self._at, index, counts[-1])
        y, u, v = counts
        self.transform = transform
        self.plane_counts = (y, u, v)
        "Bit planes of each component, 0 to 16."

        self._items = np.empty(_ITEMS * width * height, np.uint16)

    def restart(self, component: int) -> None:
        """Begin a component again, as if nothing had been said of it."""
        self._library.rtc_progressive_restart(self._at, component, self.plane_counts[component])

    def next(self, component: int, complete: tuple[int, int]) -> Items:
        """
        Return what the next pass of a component says; there must be one left.

        Args:
            component: 0 to 2.
            complete: Planes of Y and of U from which on decoders know all of them by then.
        """
        n = self._library.rtc_progressive_pass(self._at, component, *complete, address(self._items))
        return self._items[:n].copy()

    def error(self, component: int) -> float:
        """Return the mean squared error of a component so far, in squares of a sample."""
        height, width = self._shapes[component]
        squares: float = self._library.rtc_progressive_error(self._at, component)
        return squares / 4 / (height * width)

    def known(self, component: int) -> NDArray[np.int32]:
        """Return a component as decoders have it so far, unrefined, in 64ths from mid grey."""
        samples = np.empty(self._shapes[component], np.int32)
        self._library.rtc_progressive_known(self._at, component, address(samples))
        return samples


def pack(items: Items) -> bytes:
    """Write what passes say as a payload."""
    items = np.ascontiguousarray(items, np.uint16)
    buffer = np.empty(4 + 2 * items.size, np.uint8)
    size = library().rtc_progressive_pack(address(items), items.size, address(buffer), buffer.size)
    return buffer[buffer.size - size :].tobytes()


def decode_payload(
    payload: bytes, width: int, height: int, transform: Transform, plane_counts: Sequence[int]
) -> tuple[Plane, Plane, Plane]:
    """
    Return Y, U and V as far as a payload, or the beginning of one, says them.

    Args:
        payload: Any part of one from its first byte on.
        width: Of the picture.
        height: Of the picture.
        transform: How it was made.
        plane_counts: Bit planes of each component, 0 to 16.

    Raises:
        Corrupt: If no payload begins so, or more follows than there is to say.
    """
    if len(plane_counts) != COMPONENTS or not all(0 <= n <= PLANES_MAX for n in plane_counts):
        raise ValueError(f"{plane_counts} bit planes")
    state = _State(width, height, transform, encodes=False)
    for index, n in enumerate(plane_counts):
        state._library.rtc_progressive_planes(state._at, index, n)
    status = state._library.rtc_progressive_decode(state._at, payload, len(payload))
    if status and status != _TRUNCATED:
        raise Corrupt(_FAULTS[status], offset=0 if status == 2 else len(payload))
    y, u, v = (np.empty(shape, np.uint8) for shape in state._shapes)
    for index, plane in enumerate((y, u, v)):
        state._library.rtc_progressive_paint(state._at, index, address(plane))
    return y, u, v
