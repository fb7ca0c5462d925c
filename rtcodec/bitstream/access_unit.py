"""
Read and write access units: one frame of one rung, in time (spec 5).

     0      n     n+m
    +------+-----+--------+--------+---
    | size | pts | packet | packet | ...
    +------+-----+--------+--------+---

Used by files, where a unit holds all its packets in order; over RTP packets
travel alone. No I/O, no clock: bytes in, values out.
"""

from dataclasses import dataclass

from rtcodec.bitstream.cursor import Cursor, Field, write_varint
from rtcodec.bitstream.packet import (
    Extension,
    Geometry,
    Packet,
    PacketHeader,
    read_packet_at,
    state_slot,
    write_packet,
)
from rtcodec.bitstream.sequence import SequenceHeader
from rtcodec.bitstream.tiles import MAX_TILES
from rtcodec.errors import Corrupt
from rtcodec.types import tile_grid

MAX_UNIT_BYTES = (1 << 28) - 1
"Largest value of the size field: four bytes of varint. # spec 5.1"

MAX_PACKETS = MAX_TILES
"Packets in one unit, extensions among them. # spec 5.1"

PTS_LIMIT = 1 << 62
"A pts lies in -PTS_LIMIT to PTS_LIMIT - 1. # spec 5.2"

_SAME_IN_A_FRAME = (
    "spatial", "frame_number", "qp", "keyframe", "reference", "store", "layer", "description"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """All packets of one frame in one rung."""

    pts: int
    "When to show it, in ticks of the sequence's time base; any sign."

    packets: tuple[Packet | Extension, ...]
    "At least one slice; slices in increasing order of tiles, equal in what concerns the frame."

    @property
    def slices(self) -> tuple[Packet, ...]:
        """The packets that hold coded tiles."""
        return tuple(packet for packet in self.packets if isinstance(packet, Packet))

    @property
    def header(self) -> PacketHeader:
        """Header of the first slice: frame number, qp, references and layer of all."""
        return self.slices[0].header


def read_access_unit(
    data: bytes, sequence: SequenceHeader, *, fields: list[Field] | None = None
) -> AccessUnit:
    """
    Parse exactly one access unit of a stream.

    Args:
        data: The whole unit from its size field, nothing before or after it.
        sequence: What the stream said of itself.
        fields: Where to record each field with its offset, or None.

    Raises:
        Truncated: If *data* ends early.
        Corrupt: If a field is out of range or not in its canonical form, the
            packets do not fit together or the stream, or bytes are left over.
        Unsupported: If a packet is of a newer version than this reader.
    """
    cursor = Cursor(data, fields=fields)
    offset = cursor.offset
    size = cursor.varint("size", limit=MAX_UNIT_BYTES)
    if size == 0:
        raise Corrupt("an access unit of 0 bytes", offset=offset)
    unit = read_unit_body_at(cursor.inner("access unit", size), sequence)
    cursor.end("access unit")
    return unit


def read_unit_body_at(cursor: Cursor, sequence: SequenceHeader) -> AccessUnit:
    """Parse what follows the size field, all of *cursor*; raises as `read_access_unit`."""
    start = cursor.offset
    pts = _read_pts(cursor)
    packets: list[Packet | Extension] = []
    previous: PacketHeader | None = None
    while cursor.remaining:
        offset = cursor.offset
        if len(packets) == MAX_PACKETS:
            raise Corrupt(f"over {MAX_PACKETS} packets in an access unit", offset=offset)
        with cursor.within(f"packet[{len(packets)}]"):
            packet = read_packet_at(cursor)
        packets.append(packet)
        if isinstance(packet, Packet):
            problem = _misfit(packet.header, previous, sequence)
            if problem:
                raise Corrupt(problem, offset=offset)
            previous = packet.header
    if previous is None:
        raise Corrupt("an access unit without a slice", offset=start)
    return AccessUnit(pts, tuple(packets))


def write_access_unit(unit: AccessUnit, sequence: SequenceHeader) -> bytes:
    """
    Write one access unit with its size field.

    Args:
        unit: What to write.
        sequence: The stream that it becomes a part of.

    Raises:
        ValueError: If the unit has no slice, is too large, or its packets do
            not fit together or the stream.
    """
    if not -PTS_LIMIT <= unit.pts < PTS_LIMIT:
        raise ValueError(f"pts {unit.pts} exceeds 63 bits")
    if not unit.slices or len(unit.packets) > MAX_PACKETS:
        raise ValueError(f"an access unit of {len(unit.packets)} packets")
    previous: PacketHeader | None = None
    for packet in unit.slices:
        problem = _misfit(packet.header, previous, sequence)
        if problem:
            raise ValueError(problem)
        previous = packet.header
    zigzag = unit.pts << 1 ^ unit.pts >> 63
    body = write_varint(zigzag) + b"".join(map(write_packet, unit.packets))
    if len(body) > MAX_UNIT_BYTES:
        raise ValueError(f"an access unit of {len(body)} bytes exceeds {MAX_UNIT_BYTES}")
    return write_varint(len(body)) + body


def frame_geometry(header: PacketHeader, sequence: SequenceHeader) -> Geometry:
    """Return the size of the frame that a packet is a part of."""
    return header.description.geometry if header.description else sequence.geometry


def _read_pts(cursor: Cursor) -> int:
    zigzag = cursor.varint("pts", limit=2 * PTS_LIMIT - 1)
    pts = zigzag >> 1 ^ -(zigzag & 1)
    cursor.explain(lambda: f"{pts} ticks")
    return pts


def _misfit(
    header: PacketHeader, previous: PacketHeader | None, sequence: SequenceHeader
) -> str | None:
    """Say why a slice cannot follow *previous* in a unit of *sequence*, or None."""
    description = header.description
    if description is not None:
        if description.model_tag != sequence.model_tag:
            return f"model tag {description.model_tag:#06x} is not the stream's"
        if header.layer.rung == 0 and description.geometry != sequence.geometry:
            return f"rung 0 is not {sequence.width}x{sequence.height}"
    if header.layer.rung >= sequence.rungs:
        return f"rung {header.layer.rung} of {sequence.rungs}"
    for state in (header.reference, header.store):
        if state is not None and state_slot(state) >= sequence.references:
            return f"slot {state_slot(state)} of {sequence.references}"
    geometry = frame_geometry(header, sequence)
    rows, columns = tile_grid(geometry.width, geometry.height)
    if header.tiles is not None and header.tiles.end > rows * columns:
        return f"tiles up to {header.tiles.end} in a frame of {rows * columns}"
    return None if previous is None else _break(previous, header)


def _break(previous: PacketHeader, header: PacketHeader) -> str | None:
    """Say why two slices cannot follow each other in one frame, or None."""
    if previous.last:
        return "a slice after the last one"
    if previous.tiles is None or header.tiles is None:
        return "a slice beside one of the whole frame"
    if previous.tiles.dispersed != header.tiles.dispersed:
        return "slices in different tile orders"
    if header.tiles.first < previous.tiles.end:
        return f"tile position {header.tiles.first} comes after {previous.tiles.end - 1}"
    for name in _SAME_IN_A_FRAME:
        if getattr(previous, name) != getattr(header, name):
            return f"slices of one frame differ in {name}"
    return None
