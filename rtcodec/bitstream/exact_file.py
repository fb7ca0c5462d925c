"""
Read and write `.rtc` files of exact pictures (rtcodec/exact/SPEC.md 2).

    +--------+-------+-------+---   ---+---+-----+
    | header | frame | frame |   ...   | 0 | CRC |
    +--------+-------+-------+---   ---+---+-----+

    frame: kind | SHA-256 | check words of tiles | sizes of payloads | payloads, coarse ones first

Every frame that is complete is given out before a cut is reported. Streams are arguments: nothing
here opens a file.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO, Final

from rtcodec.bitstream.cursor import Cursor, Field, write_varint
from rtcodec.bitstream.exact_format import (
    HEADER_MAX_BYTES,
    STEPS,
    ExactFormat,
    read_exact_header_at,
    write_exact_header,
)
from rtcodec.errors import Corrupt, Truncated

DIGEST_BYTES: Final = 32
COLORS: Final = 3
"Components that code streams of TOGETHER_KINDS hold together."

_CHUNK_BYTES: Final = 1 << 20  # memory grows with bytes that came, not with those announced
_SAMPLE_BYTES: Final = 10  # the most that one sample takes in a payload


class FrameKind(IntEnum):
    """How the samples of a frame are coded."""

    TILES = 1
    "By this format's own codec."

    JPEG_LS = 2
    "Each component as one JPEG-LS image."

    RAW = 3
    "Each component as it is, 16 bits a sample, little-endian."

    HTJ2K = 4
    "As a code stream of HTJ2K: three components together, else one for each."

    JPEG_XL = 5
    "As one of JPEG XL, the same way."


TOGETHER_KINDS: Final = frozenset({FrameKind.HTJ2K, FrameKind.JPEG_XL})
"Code streams that may hold several components."

_KINDS: Final = frozenset({FrameKind.TILES, FrameKind.JPEG_LS, FrameKind.RAW})
_WHOLE_KINDS: Final = frozenset(FrameKind) - {FrameKind.TILES}


@dataclass(frozen=True, slots=True)
class ExactFrame:
    """One frame as coded."""

    kind: FrameKind

    digest: bytes
    "SHA-256 of what a decoder gets, see `rtcodec.exact.proof`."

    checks: tuple[int, ...]
    "CRC-32 of each tile's samples, component by component; of TILES only."

    payloads: tuple[bytes, ...]
    "Of TILES by step, component and tile; else as `count_payloads` says."


def place_of(header: ExactFormat, step: int, component: int, tile: int) -> int:
    """Return which payload holds *step* (0 the coarsest grid) of a tile of a component."""
    rows, columns = header.tiles
    return (step * len(header.components) + component) * rows * columns + tile


def read_kind(header: ExactFormat, code: int, offset: int) -> FrameKind:
    """
    Return how a frame is coded.

    Args:
        header: Of the file.
        code: As read.
        offset: Where.

    Raises:
        Corrupt: If the header's version has no such frames.
    """
    if code not in (_WHOLE_KINDS if header.is_whole else _KINDS):
        raise Corrupt(f"frame of kind {code}", offset=offset)
    return FrameKind(code)


def count_payloads(header: ExactFormat, kind: FrameKind) -> int:
    """Return how many payloads a frame has."""
    rows, columns = header.tiles
    if kind == FrameKind.TILES:
        return header.steps * len(header.components) * rows * columns
    return 1 if kind in TOGETHER_KINDS and header.channels == COLORS else header.channels


class ExactReader:
    """
    Iterates over the frames of a file of exact pictures.

    Raises:
        BitstreamError: When made, as `read_exact_header_at`; while iterating, `Truncated` at a cut
            and `Corrupt` where a frame cannot be.
    """

    def __init__(self, stream: BinaryIO, *, fields: list[Field] | None = None) -> None:
        """
        Read the header.

        Args:
            stream: A binary stream at the first byte; need not seek.
            fields: Where to record each field with its offset, or None.
        """
        self._stream = stream
        self._fields = fields
        self._crc = 0
        self._offset = 0
        self._pending = b""
        self._pending = self._read(HEADER_MAX_BYTES, consume=False)
        cursor = Cursor(self._pending, fields=fields, path="picture.")
        self.header = read_exact_header_at(cursor, self._pending)
        self._read(cursor.offset)

    @property
    def offset(self) -> int:
        """Bytes consumed so far."""
        return self._offset

    def __iter__(self) -> Iterator[ExactFrame]:
        """Give out the frames in order, then check that the file ends here."""
        for number in range(self.header.frames):
            yield self._read_frame(number)
        self._read_end()

    def _read_frame(self, number: int) -> ExactFrame:
        header = self.header
        rows, columns = header.tiles
        start = self._offset
        head = self._cursor(1 + DIGEST_BYTES, f"frame[{number}].")
        kind = read_kind(header, head.u8("kind"), start)
        head.explain(lambda: kind.name)
        digest = head.raw("sha256", DIGEST_BYTES)
        is_tiles = kind == FrameKind.TILES
        n_checks = len(header.components) * rows * columns if is_tiles else 0
        checks = self._cursor(4 * n_checks, f"frame[{number}].").raw("checks", 4 * n_checks)
        sizes = self._read_sizes(number, count_payloads(header, kind))
        step_names = ("grid", *(f"level {level}" for level in reversed(range(STEPS - 1))), "rest")
        names = (
            step_names[: header.steps]
            if is_tiles
            else [f"component {k}" for k in range(header.channels)]
            if len(sizes) == header.channels
            else ["all components"]
        )
        payloads: list[bytes] = []
        for name in names:
            some = sizes[len(payloads) :][: len(sizes) // len(names)]
            body = self._cursor(sum(some), f"frame[{number}].").raw(f"payloads, {name}", sum(some))
            at = 0
            for size in some:
                payloads.append(body[at : at + size])
                at += size
        words = tuple(int.from_bytes(checks[k : k + 4], "big") for k in range(0, len(checks), 4))
        return ExactFrame(kind, digest, words, tuple(payloads))

    def _read_sizes(self, number: int, count: int) -> list[int]:
        path = f"frame[{number}]."
        limit = 4 + _SAMPLE_BYTES * self.header.width * self.header.height
        size = self._varint("sizes_bytes", path, limit=5 * count)
        recorded, self._fields = self._fields, None  # a line for each would say little
        cursor = self._cursor(size, path)
        self._fields = recorded
        if recorded is not None:
            words = Field(self._offset - size, size, f"{path}sizes", f"{count} numbers")
            recorded.append(words)
        bounded = cursor.inner("sizes", size)
        sizes = [bounded.varint("size", limit=limit) for _ in range(count)]
        bounded.end("sizes")
        return sizes

    def _read_end(self) -> None:
        expected_mark = self._offset
        crc_before = self._crc
        cursor = self._cursor(5, "end.")
        if cursor.u8("mark"):
            raise Corrupt("more frames than the header says", offset=expected_mark)
        expected = zlib.crc32(b"\x00", crc_before)
        crc = cursor.u32("crc")
        if crc != expected:
            raise Corrupt(
                f"CRC is {crc:#010x}, file gives {expected:#010x}", offset=expected_mark + 1
            )
        if self._read(1):
            raise Corrupt("bytes after the end of the file", offset=expected_mark + 5)

    def _varint(self, name: str, path: str, *, limit: int) -> int:
        """Read one varint, whose size shows only while it is read."""
        start = self._offset
        taken = b""
        while True:
            byte = self._read(1)
            taken += byte
            if not byte or not byte[0] & 0x80 or len(taken) > 9:
                break
        return Cursor(taken, origin=start, fields=self._fields, path=path).varint(name, limit=limit)

    def _cursor(self, size: int, path: str) -> Cursor:
        """Return a cursor over the next *size* bytes, all of which are there."""
        start = self._offset
        data = self._read(size)
        if len(data) < size:
            raise Truncated(
                f"{path.rstrip('.')} needs {size} bytes here, {len(data)} are left",
                offset=start + len(data),
            )
        return Cursor(data, origin=start, fields=self._fields, path=path)

    def _read(self, size: int, *, consume: bool = True) -> bytes:
        """Return *size* bytes, or what is left."""
        parts = [self._pending[:size]]
        self._pending = self._pending[size:]
        size -= len(parts[0])
        while size > 0:
            part = self._stream.read(min(size, _CHUNK_BYTES))
            if not part:
                break
            parts.append(part)
            size -= len(part)
        data = b"".join(parts)
        if consume:
            self._crc = zlib.crc32(data, self._crc)
            self._offset += len(data)
        return data


class ExactWriter:
    """
    Writes a file of exact pictures, one frame at a time.

    `close` writes the end; without it the file reads as truncated.
    """

    def __init__(self, stream: BinaryIO, header: ExactFormat) -> None:
        """Write the header to *stream*; need not seek, stays open."""
        self._stream = stream
        self._header = header
        self._crc = 0
        self._left = header.frames
        self.size_bytes = 0
        self._write(write_exact_header(header))

    def write(self, frame: ExactFrame) -> None:
        """Write one frame."""
        assert self._left
        self._left -= 1
        sizes = b"".join(write_varint(len(payload)) for payload in frame.payloads)
        checks = b"".join(check.to_bytes(4, "big") for check in frame.checks)
        self._write(bytes([frame.kind]) + frame.digest + checks + write_varint(len(sizes)) + sizes)
        for payload in frame.payloads:
            self._write(payload)

    def close(self) -> None:
        """Write the end mark and the CRC."""
        assert not self._left
        self._write(b"\x00")
        self._write(self._crc.to_bytes(4, "big"))

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._crc = zlib.crc32(data, self._crc)
        self.size_bytes += len(data)
