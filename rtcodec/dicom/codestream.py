"""
What the head of a compressed frame says of its size: JPEG, JPEG-LS, JPEG 2000 and HTJ2K.

Decoders set up memory for what is said there, which need not be what the data set says. Nothing is
decoded here.
"""

import struct
from typing import Final

from rtcodec.errors import InputError

TILES_MAX: Final = 4096
"Of JPEG 2000: decoders set up kilobytes for each."

_SEARCHED_BYTES: Final = 4096  # for a code stream within a JP2 file
_SIZ: Final = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1 A.4.1, A.5.1
_QCD, _QCC, _SOT = 0xFF5C, 0xFF5D, 0xFF90  # A.6.4, A.6.5, A.4.2
_FRAMES: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"Markers of a frame's header: ISO/IEC 10918-1 B.1.1.3, 14495-1 C.1.1."

_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


def check_stream(data: bytes, shape: tuple[int, int, int]) -> None:
    """
    Refuse a code stream of another size.

    Args:
        data: One frame.
        shape: Rows, columns and components that it should have.

    Raises:
        InputError: If it has others, or says nothing of it.
    """
    said = _jpeg_shape(data) if data.startswith(b"\xff\xd8") else _jpeg_2000_shape(data)
    if said != shape:
        raise InputError("its frames are not of the size and depth that it says")


def _jpeg_shape(data: bytes) -> tuple[int, int, int] | None:
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill, B.1.1.2
            at += 1
            continue
        if marker in _ALONE:
            at += 2
            continue
        length, _, rows, columns, components = struct.unpack_from(">HBHHB", data, at + 2)
        if marker in _FRAMES:
            return rows, columns, components
        at += 2 + max(2, length)
    return None


def _jpeg_2000_shape(data: bytes) -> tuple[int, int, int] | None:
    at = data.find(_SIZ, 0, _SEARCHED_BYTES)
    if at < 0 or at + 42 > len(data):
        return None
    words = struct.unpack_from(">8IH", data, at + 8)
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, components = words
    if not tile_width or not tile_height or tile_left > left or tile_top > top:
        return None
    across, down = -(-(right - tile_left) // tile_width), -(-(bottom - tile_top) // tile_height)
    if across * down > TILES_MAX:
        return None
    steps = data[at + 42 : at + 42 + 3 * components]  # depth, and every how many samples
    if any(steps[k] != 1 for k in range(len(steps)) if k % 3):
        return None
    return (bottom - top, right - left, components) if _has_bands(data, at, components) else None


def _has_bands(data: bytes, at: int, components: int) -> bool:
    """Say whether quantisers are of some band; where not, OpenJPH 0.26 ends the process."""
    at += 2
    empty = {_QCD: 1, _QCC: 2 if components <= 256 else 3}  # bytes before the first band
    while at + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _SOT:
            return True
        if length - 2 <= empty.get(marker, -1):
            return False
        at += 2 + max(length, 2)
    return True
