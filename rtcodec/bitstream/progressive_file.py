"""
Read and write the file form of a progressive picture (rtcodec/progressive/SPEC.md 2).

    +--------+---------+----------+-------+-----------+--------+------+-----+---------+-----+
    | magic  | version | geometry | color | transform | planes | size | CRC | payload | CRC |
    +--------+---------+----------+-------+-----------+--------+------+-----+---------+-----+

Any beginning of a file that holds its header is a picture. Bytes in, values out: nothing here
opens a file or decodes a payload.
"""

import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from rtcodec.bitstream.cursor import Cursor, Field
from rtcodec.bitstream.packet import Geometry, read_geometry_at, write_geometry
from rtcodec.bitstream.sequence import ColorRange, read_color_at
from rtcodec.errors import Corrupt, Unsupported

MAGIC: Final = b"\x89RTP"
VERSION: Final = 4
HEADER_BYTES: Final = 21
COMPONENTS: Final = 3
PLANES_MAX: Final = 16
PIXELS_MAX: Final = 1 << 25
"Of a picture: coefficients are counted in 32 bits, and a few passes of all must fit into memory."
_PLANES_BITS: Final = 5
_END_BYTES: Final = 4


class Transform(IntEnum):
    """How samples become coefficients."""

    WIDE = 0
    "The 9/7 wavelet: smooth, for photographs."

    PAIRS = 1
    "Means and differences of two: for drawings and screens, whose edges it keeps."


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressiveHeader:
    """What a decoder knows before the first bit."""

    width: int
    "Pixels, 1 to 16384; at most 2**25 of them in a picture."

    height: int
    color_range: ColorRange
    color_matrix: int
    "ITU-T H.273, 0 to 14."

    transform: Transform
    plane_counts: tuple[int, int, int]
    "Bit planes of Y, U and V, 0 to 16."

    payload_bytes: int
    "Of the whole file."


@dataclass(frozen=True, slots=True)
class ProgressiveFile:
    """A file, or the beginning of one."""

    header: ProgressiveHeader
    payload: bytes
    "As much as there is of it."

    is_whole: bool
    "Whether all of it is there, and its CRC right."


def write_progressive(header: ProgressiveHeader, payload: bytes) -> bytes:
    """Write a file; `read_progressive` is the inverse."""
    if len(payload) != header.payload_bytes:
        raise ValueError(f"{len(payload)} bytes for a payload of {header.payload_bytes}")
    planes = 0
    for n in header.plane_counts:
        planes = planes << _PLANES_BITS | n
    out = bytearray([*MAGIC, VERSION])
    out += write_geometry(Geometry(header.width, header.height))
    out += bytes([header.color_range << 4 | header.color_matrix, header.transform])
    out += planes.to_bytes(2, "big") + len(payload).to_bytes(4, "big")
    out += zlib.crc32(out).to_bytes(4, "big")
    assert len(out) == HEADER_BYTES
    return bytes(out) + payload + zlib.crc32(payload).to_bytes(_END_BYTES, "big")


def read_progressive(data: bytes, *, fields: list[Field] | None = None) -> ProgressiveFile:
    """
    Read a file, or any beginning of one from the header on.

    Args:
        data: As much of it as there is.
        fields: Where to record each field with its offset, or None.

    Raises:
        Truncated: If the header is not whole.
        Corrupt: If a field is out of range, a CRC is wrong, or bytes follow the end.
        Unsupported: If the version or the transform is one that a newer reader may know.
    """
    cursor = Cursor(data, fields=fields)
    header = _read_header(cursor, data)
    payload = cursor.raw("payload", min(cursor.remaining, header.payload_bytes))
    if cursor.remaining < _END_BYTES:
        return ProgressiveFile(header, payload, is_whole=False)
    at = cursor.offset
    if cursor.u32("payload_crc") != zlib.crc32(payload):
        raise Corrupt("payload's CRC does not match", offset=at)
    cursor.end("end of the picture")
    return ProgressiveFile(header, payload, is_whole=True)


def _read_header(cursor: Cursor, data: bytes) -> ProgressiveHeader:
    for place, byte in enumerate(MAGIC):
        if cursor.u8(f"magic[{place}]") != byte:
            raise Corrupt("not a progressive picture", offset=place)
    version = cursor.u8("version")
    if version != VERSION:
        raise Unsupported(f"progressive picture version {version}", offset=len(MAGIC))
    at = cursor.offset
    geometry = read_geometry_at(cursor)
    if geometry.bit_depth != 8 or geometry.width * geometry.height > PIXELS_MAX:
        raise Corrupt(f"{geometry.width}x{geometry.height} of {geometry.bit_depth} bits", offset=at)
    color_range, color_matrix = read_color_at(cursor)
    transform = cursor.u8("transform")
    if transform not in Transform.__members__.values():
        raise Unsupported(f"transform {transform}", offset=cursor.offset - 1)
    cursor.explain(lambda: Transform(transform).name.lower())
    planes = cursor.u16("planes")
    counts = (planes >> 2 * _PLANES_BITS, planes >> _PLANES_BITS & 31, planes & 31)
    cursor.explain(lambda: "Y {}, U {}, V {}".format(*counts))
    if max(counts) > PLANES_MAX:
        raise Corrupt(f"{max(counts)} bit planes", offset=cursor.offset - 2)
    size = cursor.u32("payload_bytes")
    at = cursor.offset
    if cursor.u32("header_crc") != zlib.crc32(data[:at]):
        raise Corrupt("header's CRC does not match", offset=at)
    return ProgressiveHeader(
        width=geometry.width,
        height=geometry.height,
        color_range=color_range,
        color_matrix=color_matrix,
        transform=Transform(transform),
        plane_counts=counts,
        payload_bytes=size,
    )
