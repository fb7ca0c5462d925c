"""
Read and write the sequence header: what holds for a whole stream (spec 3).

     0        4     5          13         17          17+n
    +--------+-----+----------+----------+-----------+-------+------+
    | magic  | ver | model id | geometry | rate, base| color | CRC  |
    +--------+-----+----------+----------+-----------+-------+------+

No I/O, no clock: bytes in, values out.
"""

import zlib
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction

from rtcodec.bitstream.cursor import Cursor, Field, write_varint
from rtcodec.bitstream.packet import MAX_SLOTS, Geometry, read_geometry_at, write_geometry
from rtcodec.errors import Corrupt, Unsupported
from rtcodec.types import MAX_RUNGS

MAGIC = b"\x89RTC"
SEQUENCE_VERSION = 1
MODEL_ID_BYTES = 8
"Of the SHA-256 that names a model, this many say it in a stream. # spec 3.2"

MAX_REFERENCES = MAX_SLOTS
"States that a stream may ask a decoder to keep for each rung. # spec 4.4"

MAX_HEADER_BYTES = 45
"Of a header with the longest ratios. # spec 3"

_MAX_TERM = 0xFFFFFFFF
_MAX_MATRIX = 14
OTHER_FORMAT = "other"
_SOURCE_FORMATS = (
    OTHER_FORMAT,
    *("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "gray"),
    *("rgb24", "bgr24", "rgba", "bgra", "gbrp", "pal8", "ya8", "monob"),
    *("yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv422p12le", "yuv444p12le"),
    *("gray10le", "gray12le", "gray16le", "rgb48le", "rgba64le", "gbrp10le", "yuyv422", "yuva420p"),
)  # the index is the code on the wire: append only, # spec 3.4


class PixelFormat(IntEnum):
    """How the coded planes are laid out."""

    YUV420P = 0


class ColorRange(IntEnum):
    """Which sample values black and white are; numbered as FFmpeg does."""

    UNSPECIFIED = 0
    LIMITED = 1
    FULL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceHeader:
    """What holds for a whole stream."""

    model_id: bytes
    "First 8 bytes of the model's SHA-256."

    geometry: Geometry
    "Size and sample depth of the frames of rung 0."

    time_base: Fraction
    "Seconds per tick of every pts; numerator and denominator below 2**32."

    frame_rate: Fraction | None = None
    "Nominal frames per second; None if there is none, as for a still image."

    pixel_format: PixelFormat = PixelFormat.YUV420P
    "Layout of the coded planes."

    color_range: ColorRange = ColorRange.UNSPECIFIED
    "Range of the coded planes."

    color_matrix: int = 2
    "Matrix of the coded planes as in ITU-T H.273, 0 to 14; 2 is unspecified."

    source_format: str = "yuv420p"
    "Pixel format before conversion: a name of spec 3.4, `other`, or `code-N`."

    rungs: int = 1
    "How many parallel codings the stream has, 1 to 16."

    references: int = 0
    "Slots that a decoder keeps for each rung, 0 to 15; 0 for intra only."

    def __post_init__(self) -> None:
        """
        Check every field against the range that the wire has for it.

        Raises:
            ValueError: If one is out of range.
        """
        if len(self.model_id) != MODEL_ID_BYTES:
            raise ValueError(f"model id of {len(self.model_id)} bytes, not {MODEL_ID_BYTES}")
        for name, ratio in (("time base", self.time_base), ("frame rate", self.frame_rate)):
            if ratio is None:
                continue
            if ratio <= 0 or ratio.numerator > _MAX_TERM or ratio.denominator > _MAX_TERM:
                raise ValueError(f"{name} {ratio} is not a positive ratio of 32-bit numbers")
        if not 0 <= self.color_matrix <= _MAX_MATRIX:
            raise ValueError(f"color matrix {self.color_matrix} is outside 0 to {_MAX_MATRIX}")
        if not 1 <= self.rungs <= MAX_RUNGS:
            raise ValueError(f"{self.rungs} rungs, not 1 to {MAX_RUNGS}")
        if not 0 <= self.references <= MAX_REFERENCES:
            raise ValueError(f"{self.references} references, not 0 to {MAX_REFERENCES}")
        _source_format_code(self.source_format)

    @property
    def width(self) -> int:
        """Width of rung 0 in pixels."""
        return self.geometry.width

    @property
    def height(self) -> int:
        """Height of rung 0 in pixels."""
        return self.geometry.height

    @property
    def model_tag(self) -> int:
        """What a packet's description must say of the model."""
        return model_tag(self.model_id)


def model_tag(model_id: bytes) -> int:
    """Return the first two bytes of a model id, big-endian."""
    return int.from_bytes(model_id[:2], "big")


def known_source_format(name: str) -> str:
    """Return *name*, a pixel format as FFmpeg calls it, or `other` if it has no code."""
    return name if name in _SOURCE_FORMATS else OTHER_FORMAT


def read_sequence_header(data: bytes, *, fields: list[Field] | None = None) -> SequenceHeader:
    """
    Parse exactly one sequence header.

    Args:
        data: The whole header, nothing before or after it.
        fields: Where to record each field with its offset, or None.

    Raises:
        Truncated: If *data* ends early.
        Corrupt: If the magic or the CRC is wrong, a field is out of range or
            not in its canonical form, or bytes are left over.
        Unsupported: If the version or the pixel format is newer than this reader.
    """
    cursor = Cursor(data, fields=fields)
    header = read_sequence_header_at(cursor)
    cursor.end("sequence header")
    return header


def read_sequence_header_at(cursor: Cursor) -> SequenceHeader:
    """Parse one header at *cursor* and step over it; raises as `read_sequence_header`."""
    start = cursor.offset
    _read_magic(cursor)
    version = cursor.u8("version")
    if version != SEQUENCE_VERSION:
        raise Unsupported(f"sequence header version {version}", offset=start + len(MAGIC))
    model_id = cursor.raw("model_id", MODEL_ID_BYTES)
    geometry = read_geometry_at(cursor)
    time_base = _read_ratio(cursor, "time_base")
    frame_rate = _read_ratio(cursor, "frame_rate", optional=True)
    pixel_format, rungs = _read_layout(cursor)
    color_range, color_matrix = read_color_at(cursor)
    source_format = _source_format_name(cursor.u8("source_format"))
    cursor.explain(lambda: source_format)
    references = _read_references(cursor)
    assert time_base is not None
    header = SequenceHeader(
        model_id=model_id,
        geometry=geometry,
        time_base=time_base,
        frame_rate=frame_rate,
        pixel_format=pixel_format,
        color_range=color_range,
        color_matrix=color_matrix,
        source_format=source_format,
        rungs=rungs,
        references=references,
    )
    crc_offset = cursor.offset
    crc = cursor.u32("crc")
    cursor.explain(lambda: f"{crc:#010x}")
    expected = zlib.crc32(_body(header))
    if crc != expected:
        raise Corrupt(f"CRC is {crc:#010x}, header gives {expected:#010x}", offset=crc_offset)
    return header


def write_sequence_header(header: SequenceHeader) -> bytes:
    """Write what `read_sequence_header` reads: 28 to 45 bytes."""
    body = _body(header)
    return body + zlib.crc32(body).to_bytes(4, "big")


def _body(header: SequenceHeader) -> bytes:
    return b"".join(
        (
            MAGIC,
            bytes((SEQUENCE_VERSION,)),
            header.model_id,
            write_geometry(header.geometry),
            _write_ratio(header.time_base),
            _write_ratio(header.frame_rate),
            bytes(
                (
                    header.rungs - 1 << 4 | header.pixel_format,
                    header.color_range << 4 | header.color_matrix,
                    _source_format_code(header.source_format),
                    header.references,
                )
            ),
        )
    )


def _read_magic(cursor: Cursor) -> None:
    start = cursor.offset
    for position, expected in enumerate(MAGIC):  # wrong already where too short as well
        if cursor.peek("magic", position) != expected:
            raise Corrupt("not an rtcodec stream", offset=start + position)
    cursor.raw("magic", len(MAGIC))


def _read_ratio(cursor: Cursor, name: str, *, optional: bool = False) -> Fraction | None:
    start = cursor.offset
    numerator = cursor.varint(f"{name}_numerator", limit=_MAX_TERM)
    if optional and numerator == 0:
        cursor.explain(lambda: "none")
        return None
    denominator = cursor.varint(f"{name}_denominator", limit=_MAX_TERM)
    if numerator == 0 or denominator == 0:
        raise Corrupt(f"{name} {numerator}/{denominator} is not positive", offset=start)
    ratio = Fraction(numerator, denominator)
    if ratio.denominator != denominator:
        raise Corrupt(f"{name} {numerator}/{denominator} is not in lowest terms", offset=start)
    return ratio


def _write_ratio(ratio: Fraction | None) -> bytes:
    if ratio is None:
        return write_varint(0)
    return write_varint(ratio.numerator) + write_varint(ratio.denominator)


def _read_layout(cursor: Cursor) -> tuple[PixelFormat, int]:
    offset = cursor.offset
    byte = cursor.u8("layout")
    if byte & 15 not in PixelFormat.__members__.values():
        raise Unsupported(f"pixel format {byte & 15}", offset=offset)
    pixel_format, rungs = PixelFormat(byte & 15), (byte >> 4) + 1
    cursor.explain(lambda: f"{pixel_format.name.lower()}, {rungs} rungs")
    return pixel_format, rungs


def read_color_at(cursor: Cursor) -> tuple[ColorRange, int]:
    """
    Read how samples are meant: their range and their matrix (spec 3.3).

    Raises:
        Truncated: If there is no byte.
        Corrupt: If it is out of range.
    """
    offset = cursor.offset
    byte = cursor.u8("color")
    if byte >> 4 > max(ColorRange) or byte & 15 > _MAX_MATRIX:
        raise Corrupt(f"color {byte:#04x} is out of range", offset=offset)
    color_range, matrix = ColorRange(byte >> 4), byte & 15
    cursor.explain(lambda: f"{color_range.name.lower()} range, matrix {matrix}")
    return color_range, matrix


def _read_references(cursor: Cursor) -> int:
    offset = cursor.offset
    references = cursor.u8("references")
    if references > MAX_REFERENCES:
        raise Corrupt(f"{references} references exceed {MAX_REFERENCES}", offset=offset)
    return references


def _source_format_name(code: int) -> str:
    return _SOURCE_FORMATS[code] if code < len(_SOURCE_FORMATS) else f"code-{code}"


def _source_format_code(name: str) -> int:
    if name in _SOURCE_FORMATS:
        return _SOURCE_FORMATS.index(name)
    code = name.removeprefix("code-")
    if name == f"code-{code}" and code.isdecimal() and len(_SOURCE_FORMATS) <= int(code) <= 255:
        return int(code)
    raise ValueError(f"source format {name!r} has no code, see known_source_format")
