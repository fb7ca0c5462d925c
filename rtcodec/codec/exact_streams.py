"""
What code streams of exact frames may be: one plain image each (rtcodec/exact/SPEC.md 2.4).

Decoders of others set up memory for what a head says, and OpenJPH trusts more of it than it should.
So heads are read here first, and hold nothing that our encoders do not write. Nothing is decoded.
"""

import struct
from typing import Final

from rtcodec.errors import Corrupt

Shape = tuple[int, int, int]
"Rows, columns and components."

_SOC, _EOC = b"\xff\x4f", b"\xff\xd9"  # ISO/IEC 15444-1 A.2, as everything of HTJ2K here
_SIZ, _CAP, _COD, _QCD, _COM, _SOT, _SOD = 0xFF51, 0xFF50, 0xFF52, 0xFF5C, 0xFF64, 0xFF90, 0xFF93
_ORDER: Final = [_SIZ, _CAP, _COD, _QCD]
_SOT_BYTES: Final = 12
_HT_ONLY: Final = 1 << 17  # of Pcap: part 15 is used. 15444-15 A.3
_HT_BLOCKS: Final = 0x40  # 15444-15 A.4
_LEVELS_MAX: Final = 10
_BLOCK_LOG: Final = 6  # code blocks of 64 along a side at most
_GAIN_MAX: Final = 4  # bits that transforms may add

_JPEG_XL: Final = b"\xff\x0a"  # ISO/IEC 18181-1 D, as everything of JPEG XL here
_JPEG_XL_BOX: Final = b"jxlc"  # that holds the code stream in a file: ISO/IEC 18181-2
_JPEG_XL_HEAD_BYTES: Final = 32
_SIDE_BITS: Final = (9, 13, 18, 30)
_DEPTHS: Final = (8, 10, 12)
_RATIOS: Final = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"Columns to rows."


def check_htj2k(data: bytes, shape: Shape, depth: int) -> None:
    """
    Refuse what is not one tile of HTJ2K without loss, of this size.

    Args:
        data: The code stream.
        shape: That it must have.
        depth: The same, unsigned bits of a sample.

    Raises:
        Corrupt: If it is anything else.
    """
    segments, at = _segments(data)
    rows, columns, components = shape
    if list(segments) != _ORDER:
        raise Corrupt("htj2k: no main header of one plain image", offset=at)
    size = struct.pack(">8IH", columns, rows, 0, 0, columns, rows, 0, 0, components)
    if segments[_SIZ][2:] != size + bytes([depth - 1, 1, 1]) * components:
        raise Corrupt(f"htj2k: not an image of {shape} in {depth} bits", offset=0)
    tile_bytes = max(len(data) - at - len(_EOC), 0)
    tile = struct.pack(">HHHIBBH", _SOT, _SOT_BYTES - 2, 0, tile_bytes, 0, 1, _SOD)
    is_one_tile = data.startswith(tile, at) and data.endswith(_EOC)
    if not (is_one_tile and _is_plain(segments, components, depth)):
        raise Corrupt("htj2k: not one tile without loss", offset=at)


def _segments(data: bytes) -> tuple[dict[int, bytes], int]:
    """Return the segments of the main header but for comments, and where it ends."""
    segments: dict[int, bytes] = {}
    at = len(_SOC)
    while data.startswith(_SOC) and at + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _SOT or marker in segments or marker not in (*_ORDER, _COM):
            break
        if marker != _COM:
            segments[marker] = data[at + 4 : at + 2 + length]
        at += 2 + max(length, 2)
    return segments, at


def _is_plain(segments: dict[int, bytes], components: int, depth: int) -> bool:
    """Say whether what comes after the size is without precincts, layers and loss."""
    cap, cod, qcd = segments[_CAP], segments[_COD], segments[_QCD]
    if len(cap) != 6 or len(cod) != 10 or not qcd:
        return False
    part, bound = struct.unpack(">IH", cap)
    style, order, layers, mixes, levels, width, height, blocks, transform = struct.unpack(
        ">BBHBBBBBB", cod
    )
    return (
        (part, bound >> 5) == (_HT_ONLY, 0)
        and (style, layers, blocks, transform) == (0, 1, _HT_BLOCKS, 1)  # 1: 5/3, exact
        and order <= 4
        and mixes <= (components == 3)
        and levels <= _LEVELS_MAX
        and max(width, height) <= _BLOCK_LOG - 2  # said less 2
        and qcd[0] & 31 == 0  # not quantised
        and len(qcd) == 2 + 3 * levels
        and all(word & 7 == 0 and word >> 3 <= depth + _GAIN_MAX for word in qcd[1:])
    )


def check_jpeg_xl(data: bytes, shape: Shape, depth: int) -> None:
    """
    Refuse what is not a plain image of JPEG XL, of this size.

    Args:
        data: The code stream, without container, orientation, animation, preview, further
            channels, profile or colours of loss.
        shape: That it must have.
        depth: The same, bits of a sample.

    Raises:
        Corrupt: If it is anything else.
    """
    if not data.startswith(_JPEG_XL) or _jpeg_xl_image(data) != (shape, depth):
        raise Corrupt(f"jpegxl: not an image of {shape} in {depth} bits", offset=0)


def bare_jpeg_xl(data: bytes) -> bytes:
    """
    Return the code stream that a file of JPEG XL holds, or is.

    Raises:
        Corrupt: If it is none, or in parts.
    """
    at = 0
    while not data.startswith(_JPEG_XL) and at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == _JPEG_XL_BOX:
            return data[at + 8 : at + size] if size else data[at + 8 :]
        at += max(size, 8)
    if not data.startswith(_JPEG_XL):
        raise Corrupt("jpegxl: not one code stream", offset=at)
    return data


def _jpeg_xl_image(data: bytes) -> tuple[Shape, int] | None:
    """Return size and depth of a plain image."""
    bits = _Bits(data[len(_JPEG_XL) : _JPEG_XL_HEAD_BYTES])
    is_small = bits.take(1)
    rows = _side(bits, is_small)
    ratio = bits.take(3)
    across, down = _RATIOS[ratio - 1]
    columns = rows * across // down if ratio else _side(bits, is_small)
    if bits.take(1) or bits.take(1) or bits.take(1):  # all by default, extra fields, floats
        return None
    choice = bits.take(2)
    depth = _DEPTHS[choice] if choice < len(_DEPTHS) else 1 + bits.take(6)
    bits.take(1)  # whether 16 bits are enough for a decoder
    if bits.take(2) or bits.take(1):  # further channels, XYB
        return None
    if bits.take(1):  # sRGB
        return (rows, columns, 3), depth
    if bits.take(1):  # a profile
        return None
    space = bits.take(2)
    return ((rows, columns, 3 - 2 * space), depth) if space < 2 else None


def _side(bits: "_Bits", is_small: int) -> int:
    return 8 * (1 + bits.take(5)) if is_small else 1 + bits.take(_SIDE_BITS[bits.take(2)])


class _Bits:
    """Reads numbers, the least bit of each first; zeros after the end."""

    def __init__(self, data: bytes) -> None:
        self._left = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        """Return the number of the next *count* bits."""
        value = self._left & ((1 << count) - 1)
        self._left >>= count
        return value
