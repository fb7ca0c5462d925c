"""
Bytes and what they say: packets, access units, sequence headers, `.rtc` files.

`SPEC.md` beside this file is normative. No I/O but on streams that are given,
no clock, no networks: bytes in, values out.
"""

from rtcodec.bitstream.access_unit import (
    AccessUnit,
    frame_geometry,
    read_access_unit,
    write_access_unit,
)
from rtcodec.bitstream.check import packet_check, seal_packet, verify_packet
from rtcodec.bitstream.cursor import Field
from rtcodec.bitstream.file import RtcReader, RtcWriter
from rtcodec.bitstream.packet import (
    Description,
    Extension,
    Geometry,
    Packet,
    PacketHeader,
    header_bytes,
    read_packet,
    state_id,
    state_slot,
    write_packet,
)
from rtcodec.bitstream.sequence import (
    ColorRange,
    PixelFormat,
    SequenceHeader,
    known_source_format,
    model_tag,
    read_sequence_header,
    write_sequence_header,
)
from rtcodec.bitstream.tiles import TileRange, split_tiles, tile_indices

__all__ = [
    "AccessUnit",
    "ColorRange",
    "Description",
    "Extension",
    "Field",
    "Geometry",
    "Packet",
    "PacketHeader",
    "PixelFormat",
    "RtcReader",
    "RtcWriter",
    "SequenceHeader",
    "TileRange",
    "frame_geometry",
    "header_bytes",
    "known_source_format",
    "model_tag",
    "packet_check",
    "read_access_unit",
    "read_packet",
    "read_sequence_header",
    "seal_packet",
    "split_tiles",
    "state_id",
    "state_slot",
    "tile_indices",
    "verify_packet",
    "write_access_unit",
    "write_packet",
    "write_sequence_header",
]
