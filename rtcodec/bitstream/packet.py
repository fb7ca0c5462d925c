"""
Read and write one packet: a slice of one frame that parses alone (spec 4).

     0          1      1+n   2+n       3+n     5+n     7+n
    +----------+------+-----+---------+-------+-------+----------+---------+
    | ver type | size |flags| lanes qp| frame | check | optional | payload |
    +----------+------+-----+---------+-------+-------+----------+---------+
                  n                                     0 to 15

`size` counts the bytes after it, so a reader steps over types that it does not
know. No I/O, no clock: bytes in, values out.
"""

from dataclasses import dataclass, field

from rtcodec.bitstream.cursor import Cursor, Field, write_varint
from rtcodec.bitstream.tiles import MAX_TILES, TileRange
from rtcodec.errors import Corrupt, Unsupported
from rtcodec.types import MAX_RUNGS, MAX_SIDE_PX, QP_MAX, LayerId

PACKET_VERSION = 1
MAX_PACKET_BYTES = (1 << 24) - 1
"Largest value of the size field. # spec 4.1"

MAX_SLOTS = 15
"States that a decoder may have to keep for one rung: slots 0 to 14. # spec 4.4"

CONSTANT_REFERENCE = 255
"Names the reference of intra frames; expressed by its absence. # spec 4.4"

TYPE_SLICE = 0
TYPE_LOSSLESS_TAIL = 1
"Reserved: residuals that make a picture exact; skipped by this version. # spec 4.6"

TYPE_SPATIAL_SLICE = 3
"A slice of a frame that is predicted from itself. # spec 4.1"

TYPE_WHOLE_SPATIAL = 4
"A whole frame that is predicted from itself, across its tiles. # spec 4.1"

TYPE_COPIED_SPATIAL = 5
"The same, with parts that are copies of others. # spec 4.8"

_FLAG_KEYFRAME = 0x01
_FLAG_LAST = 0x02
_FLAG_REFERENCE = 0x04
_FLAG_STORE = 0x08
_FLAG_LAYER = 0x10
_FLAG_DESCRIBED = 0x20
_FLAG_TILES = 0x40
_FLAG_DISPERSED = 0x80
_FLAG_NAMES = {
    _FLAG_KEYFRAME: "keyframe",
    _FLAG_LAST: "last",
    _FLAG_REFERENCE: "reference",
    _FLAG_STORE: "store",
    _FLAG_LAYER: "layer",
    _FLAG_DESCRIBED: "described",
    _FLAG_TILES: "tiles",
    _FLAG_DISPERSED: "dispersed",
}
_MAX_TYPE = 31
_SLICES = {
    TYPE_SLICE: "slice",
    TYPE_SPATIAL_SLICE: "slice of a spatial frame",
    TYPE_WHOLE_SPATIAL: "whole spatial frame",
    TYPE_COPIED_SPATIAL: "whole spatial frame with copied parts",
}
_LANES = (1, 2, 4, 8)
_BASE_LAYER = LayerId()


@dataclass(frozen=True, slots=True)
class Geometry:
    """Size and depth of a frame's samples, 32 bits on the wire (spec 3.1)."""

    width: int
    "Pixels, 1 to 16384."

    height: int
    "Pixels, 1 to 16384."

    bit_depth: int = 8
    "Bits per sample, 8 to 16; lossy coding is of 8."

    def __post_init__(self) -> None:
        """
        Check the limits.

        Raises:
            ValueError: If one is broken.
        """
        if not (1 <= self.width <= MAX_SIDE_PX and 1 <= self.height <= MAX_SIDE_PX):
            raise ValueError(f"{self.width}x{self.height} is outside 1 to {MAX_SIDE_PX}")
        if not 8 <= self.bit_depth <= 16:
            raise ValueError(f"bit depth {self.bit_depth} is outside 8 to 16")


@dataclass(frozen=True, slots=True)
class Description:
    """What a packet says of its stream when no sequence header travels with it."""

    model_tag: int
    "First two bytes of the model id, big-endian."

    geometry: Geometry
    "Size and bit depth of the frame."

    def __post_init__(self) -> None:
        """
        Check the limits.

        Raises:
            ValueError: If one is broken.
        """
        _check_range("model tag", self.model_tag, 0xFFFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketHeader:
    """How to decode a slice, and what it is a part of."""

    frame_number: int
    "Counts frames of one stream modulo 65536; shared by the packets of a frame."

    qp: int
    "Quantiser index, 0 (finest) to 63 (coarsest)."

    keyframe: bool
    "Whether a decoder may start here; implies no reference."

    last: bool
    "Whether no packet of this frame and rung follows."

    lanes: int = 1
    "Interleaved entropy coder states: 1, 2, 4 or 8."

    check: int = 0
    "Check word over header and symbols, see `check.packet_check`."

    reference: int | None = None
    "Id of the state that the frame is predicted from; None is the constant one (intra)."

    store: int | None = None
    "Id under which the decoded state is kept, see `state_id`; None if it is not."

    layer: LayerId = field(default_factory=LayerId)
    "Which coding of the stream this is."

    description: Description | None = None
    "Model and size; always present over RTP, in files only where they differ."

    tiles: TileRange | None = None
    "Which tiles; None is the whole frame."

    spatial: bool = False
    "Whether the frame is predicted from itself; it has no reference then. # spec 9.6"

    across_tiles: bool = False
    "Whether that is done across its tiles; it is one packet then, without *tiles*. # spec 9.6"

    has_copies: bool = False
    "Whether parts are copies; only where it is predicted across tiles. # spec 4.8"

    def __post_init__(self) -> None:
        """
        Check every field against the range that the wire has for it.

        Raises:
            ValueError: If one is out of range, or they contradict each other.
        """
        _check_range("frame number", self.frame_number, 0xFFFF)
        _check_range("qp", self.qp, QP_MAX)
        _check_range("check word", self.check, 0xFFFF)
        for name, state in (("reference", self.reference), ("store", self.store)):
            _check_range(name, state or 0, CONSTANT_REFERENCE - 1)
            _check_range(f"{name} slot", state_slot(state or 0), MAX_SLOTS - 1)
        _check_range("rung", self.layer.rung, MAX_RUNGS - 1)
        _check_range("temporal layer", self.layer.temporal, 15)
        if self.lanes not in _LANES:
            raise ValueError(f"{self.lanes} lanes, not 1, 2, 4 or 8")
        if self.reference is not None and (self.keyframe or self.spatial):
            raise ValueError("a frame that stands alone, with a reference")
        if self.across_tiles and (not self.spatial or self.tiles is not None):
            raise ValueError("predicted across tiles, but not a whole spatial frame")
        if self.has_copies and not self.across_tiles:
            raise ValueError("copies, but not predicted across tiles")

    @property
    def type(self) -> int:
        """The type of a packet with this header: TYPE_SLICE and so on."""
        if self.across_tiles:
            return TYPE_COPIED_SPATIAL if self.has_copies else TYPE_WHOLE_SPATIAL
        return TYPE_SPATIAL_SLICE if self.spatial else TYPE_SLICE

    def with_check(self, check: int) -> "PacketHeader":
        """
        Return this header with another check word.

        Raises:
            ValueError: If *check* is not 0 to 65535.
        """
        _check_range("check word", check, 0xFFFF)
        # `dataclasses.replace` would check every field again, for each packet that is sent.
        header = object.__new__(PacketHeader)
        for name in PacketHeader.__slots__:
            object.__setattr__(header, name, getattr(self, name))
        object.__setattr__(header, "check", check)
        return header


@dataclass(frozen=True, slots=True)
class Packet:
    """A self-contained slice of one frame."""

    header: PacketHeader
    "Everything but the coded symbols."

    payload: bytes
    "Entropy-coded symbols of the slice's tiles."


@dataclass(frozen=True, slots=True)
class Extension:
    """A packet of a type that this version only carries and skips."""

    type: int
    "1 to 31 but 3 and 4; 1 is the lossless tail."

    body: bytes
    "Everything after the size field."

    def __post_init__(self) -> None:
        """
        Check the limits.

        Raises:
            ValueError: If the type is that of a slice or out of range.
        """
        if not 1 <= self.type <= _MAX_TYPE or self.type in _SLICES:
            raise ValueError(f"{self.type} is no type of an extension")


def state_id(slot: int, generation: int) -> int:
    """
    Name what a slot holds after it was stored to for the *generation*-th time.

    A decoder that missed a store sees another generation and knows that it
    does not hold what the frame needs. # spec 4.4

    Args:
        slot: 0 to 14.
        generation: Any count from 0; counts modulo 16.
    """
    return generation % 16 << 4 | slot


def state_slot(state: int) -> int:
    """Return the slot that a state id is kept in."""
    return state & 15


def read_packet(data: bytes, *, fields: list[Field] | None = None) -> Packet | Extension:
    """
    Parse exactly one packet.

    Args:
        data: The whole packet, nothing before or after it.
        fields: Where to record each field with its offset, or None.

    Raises:
        Truncated: If *data* ends early.
        Corrupt: If a field is out of range or not in its canonical form, or
            bytes are left over.
        Unsupported: If the version is newer than this reader.
    """
    cursor = Cursor(data, fields=fields)
    packet = read_packet_at(cursor)
    cursor.end("packet")
    return packet


def read_packet_at(cursor: Cursor) -> Packet | Extension:
    """Parse one packet at *cursor* and step over it; raises as `read_packet`."""
    offset = cursor.offset
    version_type = cursor.u8("version_type")
    version, packet_type = version_type >> 5, version_type & _MAX_TYPE
    if version != PACKET_VERSION:
        raise Unsupported(f"packet version {version}", offset=offset)
    cursor.explain(lambda: f"version {version}, {_SLICES.get(packet_type, f'type {packet_type}')}")
    size = cursor.varint("size", limit=MAX_PACKET_BYTES)
    body = cursor.inner("packet", size)
    if packet_type not in _SLICES:
        return Extension(packet_type, body.raw("body", size))
    header = _read_slice_header(body, packet_type)
    return Packet(header, body.raw("payload", body.remaining))


def write_packet(packet: Packet | Extension) -> bytes:
    """
    Write one packet.

    Raises:
        ValueError: If it is larger than a packet may be.
    """
    if isinstance(packet, Extension):
        return _prefix(packet.type, len(packet.body)) + packet.body
    return header_bytes(packet) + packet.payload


def header_bytes(packet: Packet, *, check: int | None = None) -> bytes:
    """
    Write all of a packet up to its payload.

    Args:
        packet: The packet; of the payload only the size matters.
        check: Put in place of the header's check word, or None to keep that.

    Raises:
        ValueError: If the packet is larger than a packet may be.
    """
    header = packet.header
    has_layer = header.layer != _BASE_LAYER
    flags = (
        _FLAG_KEYFRAME * header.keyframe
        | _FLAG_LAST * header.last
        | _FLAG_REFERENCE * (header.reference is not None)
        | _FLAG_STORE * (header.store is not None)
        | _FLAG_LAYER * has_layer
        | _FLAG_DESCRIBED * (header.description is not None)
    )
    out = bytearray()
    if header.tiles is not None:
        flags |= _FLAG_TILES | _FLAG_DISPERSED * header.tiles.dispersed
    out.append(flags)
    out.append(_LANES.index(header.lanes) << 6 | header.qp)
    out += header.frame_number.to_bytes(2, "big")
    out += (header.check if check is None else check).to_bytes(2, "big")
    if header.reference is not None:
        out.append(header.reference)
    if header.store is not None:
        out.append(header.store)
    if has_layer:
        out.append(header.layer.rung << 4 | header.layer.temporal)
    if header.description is not None:
        out += header.description.model_tag.to_bytes(2, "big")
        out += write_geometry(header.description.geometry)
    if header.tiles is not None:
        out += write_varint(header.tiles.first) + write_varint(header.tiles.count - 1)
    return _prefix(header.type, len(out) + len(packet.payload)) + bytes(out)


def read_geometry_at(cursor: Cursor) -> Geometry:
    """
    Parse width, height and bit depth: 14, 14 and 4 bits, each less one.

    Raises:
        Truncated: If the bytes end early.
        Corrupt: If the bit depth is below 8.
    """
    offset = cursor.offset
    word = cursor.u32("geometry")
    width, height = (word >> 14 & 0x3FFF) + 1, (word & 0x3FFF) + 1
    bit_depth = (word >> 28) + 1
    if bit_depth < 8:
        raise Corrupt(f"bit depth {bit_depth} is below 8", offset=offset)
    cursor.explain(lambda: f"{width}x{height}, {bit_depth} bits")
    return Geometry(width, height, bit_depth)


def write_geometry(geometry: Geometry) -> bytes:
    """Write what `read_geometry_at` reads: 4 bytes."""
    word = geometry.bit_depth - 1 << 28 | geometry.width - 1 << 14 | geometry.height - 1
    return word.to_bytes(4, "big")


def _prefix(packet_type: int, size: int) -> bytes:
    if size > MAX_PACKET_BYTES:
        raise ValueError(f"a packet of {size} bytes exceeds {MAX_PACKET_BYTES}")
    return bytes((PACKET_VERSION << 5 | packet_type,)) + write_varint(size)


def _read_slice_header(cursor: Cursor, packet_type: int) -> PacketHeader:
    spatial = packet_type != TYPE_SLICE
    across_tiles = packet_type in (TYPE_WHOLE_SPATIAL, TYPE_COPIED_SPATIAL)
    flags_offset = cursor.offset
    flags = cursor.u8("flags")
    cursor.explain(lambda: ", ".join(name for flag, name in _FLAG_NAMES.items() if flags & flag))
    if flags & _FLAG_REFERENCE and (spatial or flags & _FLAG_KEYFRAME):
        raise Corrupt("a frame that stands alone, with a reference", offset=flags_offset)
    if flags & _FLAG_DISPERSED and not flags & _FLAG_TILES:
        raise Corrupt("dispersed order without tiles", offset=flags_offset)
    if flags & _FLAG_TILES and across_tiles:
        raise Corrupt("a frame predicted across its tiles, with some of them", offset=flags_offset)
    lanes_qp = cursor.u8("lanes_qp")
    lanes, qp = _LANES[lanes_qp >> 6], lanes_qp & QP_MAX
    cursor.explain(lambda: f"{lanes} lanes, qp {qp}")
    return PacketHeader(
        keyframe=bool(flags & _FLAG_KEYFRAME),
        last=bool(flags & _FLAG_LAST),
        qp=qp,
        lanes=lanes,
        frame_number=cursor.u16("frame_number"),
        check=cursor.u16("check"),
        reference=_read_state(cursor, "reference") if flags & _FLAG_REFERENCE else None,
        store=_read_state(cursor, "store") if flags & _FLAG_STORE else None,
        layer=_read_layer(cursor) if flags & _FLAG_LAYER else _BASE_LAYER,
        description=_read_description(cursor) if flags & _FLAG_DESCRIBED else None,
        tiles=_read_tiles(cursor, flags) if flags & _FLAG_TILES else None,
        spatial=spatial,
        across_tiles=across_tiles,
        has_copies=packet_type == TYPE_COPIED_SPATIAL,
    )


def _read_state(cursor: Cursor, name: str) -> int:
    offset = cursor.offset
    state = cursor.u8(name)
    if state_slot(state) >= MAX_SLOTS:
        raise Corrupt(f"{name} {state:#04x} has no slot", offset=offset)
    cursor.explain(lambda: f"slot {state_slot(state)}, generation {state >> 4}")
    return state


def _read_layer(cursor: Cursor) -> LayerId:
    offset = cursor.offset
    byte = cursor.u8("layer")
    if byte == 0:
        raise Corrupt("layer 0 is said by leaving it out", offset=offset)
    layer = LayerId(byte >> 4, byte & 15)
    cursor.explain(lambda: f"rung {layer.rung}, temporal {layer.temporal}")
    return layer


def _read_description(cursor: Cursor) -> Description:
    return Description(cursor.u16("model_tag"), read_geometry_at(cursor))


def _read_tiles(cursor: Cursor, flags: int) -> TileRange:
    first = cursor.varint("first_tile", limit=MAX_TILES - 1)
    count = cursor.varint("tile_count", limit=MAX_TILES - first - 1) + 1
    cursor.explain(lambda: f"{count} tiles")
    return TileRange(first, count, bool(flags & _FLAG_DISPERSED))


def _check_range(name: str, value: int, limit: int) -> None:
    if not 0 <= value <= limit:
        raise ValueError(f"{name} {value} is outside 0 to {limit}")
