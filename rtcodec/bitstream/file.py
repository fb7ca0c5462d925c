"""
Read and write `.rtc` files, or any byte stream of that form (spec 6).

    +-----------------+-------------+-------------+---   ---+---+-----+
    | sequence header | access unit | access unit |   ...   | 0 | CRC |
    +-----------------+-------------+-------------+---   ---+---+-----+

A stream may be read while it is written, and may be cut anywhere: every access
unit that is complete is given out before the cut is reported. Streams are
arguments: nothing here opens a file.
"""

import zlib
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Self

from rtcodec.bitstream.access_unit import (
    MAX_UNIT_BYTES,
    AccessUnit,
    read_unit_body_at,
    write_access_unit,
)
from rtcodec.bitstream.cursor import Cursor, Field
from rtcodec.bitstream.sequence import (
    MAX_HEADER_BYTES,
    SequenceHeader,
    read_sequence_header_at,
    write_sequence_header,
)
from rtcodec.errors import Corrupt, Truncated

_END = b"\x00"  # in place of the size of an access unit, # spec 6.1
_CRC_BYTES = 4
_CHUNK_BYTES = 1 << 20  # memory grows with bytes that came, not with those announced
_SIZE_BYTES = 4  # of the longest size field


class RtcReader:
    """
    Iterates over the access units of a `.rtc` stream.

    Reads no further than the unit it gives out. Memory is bounded by the
    largest unit present, whatever sizes the bytes claim.
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        fields: list[Field] | None = None,
        max_unit_bytes: int = MAX_UNIT_BYTES,
    ) -> None:
        """
        Read the sequence header.

        Args:
            stream: A binary stream at the first byte; need not seek.
            fields: Where to record each field with its offset, or None.
            max_unit_bytes: Size of an access unit above which a stream counts as corrupt.

        Raises:
            BitstreamError: As `read_sequence_header`, for an empty stream too.
        """
        self._stream = stream
        self._fields = fields
        self._max_unit_bytes = max_unit_bytes
        self._crc = 0
        self._units = 0
        self._pending = b""
        self._offset = 0
        self.sequence = self._read_sequence()

    @property
    def offset(self) -> int:
        """Bytes consumed so far: where the next access unit starts."""
        return self._offset

    def __iter__(self) -> Iterator[AccessUnit]:
        """
        Give out the remaining access units in stream order.

        Raises:
            Truncated: If the stream ends before its end mark; what was
                complete has been given out.
            Corrupt: If an access unit is, or the CRC over the stream is wrong,
                or bytes follow it.
            Unsupported: If a packet is of a newer version than this reader.
        """
        while (unit := self._read_unit()) is not None:
            yield unit

    def _read_sequence(self) -> SequenceHeader:
        # A header's length shows only when it is parsed, so some of the first
        # unit may come with it and waits in _pending.
        self._pending = self._stream_read(MAX_HEADER_BYTES)
        if not self._pending:
            raise Truncated("the stream is empty", offset=0)
        cursor = Cursor(self._pending, fields=self._fields, path="sequence.")
        sequence = read_sequence_header_at(cursor)
        self._consume(self._read(cursor.offset))
        return sequence

    def _read_unit(self) -> AccessUnit | None:
        start = self._offset
        prefix = self._read_size()
        fields = self._fields
        path = f"unit[{self._units}]."
        cursor = Cursor(prefix, origin=start, fields=fields, path=path)
        if prefix == _END:
            self._read_end(start)
            return None
        size = cursor.varint("size", limit=self._max_unit_bytes)
        body = self._read(size)
        if len(body) < size:
            raise Truncated(
                f"access unit needs {size} bytes, {len(body)} are left",
                offset=start + len(prefix) + len(body),
            )
        cursor = Cursor(body, origin=start + len(prefix), fields=fields, path=path, bounded=True)
        unit = read_unit_body_at(cursor, self.sequence)
        self._consume(prefix + body)
        self._units += 1
        return unit

    def _read_size(self) -> bytes:
        prefix = b""
        while len(prefix) < _SIZE_BYTES:
            byte = self._read(1)
            prefix += byte
            if not byte or byte[0] < 0x80:
                break
        return prefix

    def _read_end(self, start: int) -> None:
        self._consume(_END)
        expected = self._crc
        cursor = Cursor(
            _END + self._read(_CRC_BYTES), origin=start, fields=self._fields, path="end."
        )
        cursor.u8("mark")
        crc = cursor.u32("crc")
        cursor.explain(lambda: f"{crc:#010x}")
        if crc != expected:
            raise Corrupt(f"CRC is {crc:#010x}, stream gives {expected:#010x}", offset=start + 1)
        if self._read(1):
            raise Corrupt("bytes after the end of the stream", offset=cursor.offset)
        self._offset = cursor.offset

    def _read(self, size: int) -> bytes:
        """Return *size* bytes, or what is left."""
        taken, self._pending = self._pending[:size], self._pending[size:]
        return taken + self._stream_read(size - len(taken))

    def _stream_read(self, size: int) -> bytes:
        parts = []
        while size > 0:
            part = self._stream.read(min(size, _CHUNK_BYTES))
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _consume(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self._offset += len(data)


class RtcWriter:
    """
    Writes a `.rtc` stream, one access unit at a time.

    As a context manager it writes the end mark only if all went well: what an
    exception leaves behind reads as truncated.
    """

    def __init__(self, stream: BinaryIO, sequence: SequenceHeader) -> None:
        """Write the sequence header to *stream*; need not seek, stays open."""
        self._stream = stream
        self._sequence = sequence
        self._crc = 0
        self._size_bytes = 0
        self._closed = False
        self._write(write_sequence_header(sequence))

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""
        return self._size_bytes

    def write(self, unit: AccessUnit) -> int:
        """
        Write one access unit.

        Returns:
            Its bytes in the stream.

        Raises:
            ValueError: If the unit does not fit the stream, see `write_access_unit`.
        """
        assert not self._closed
        data = write_access_unit(unit, self._sequence)
        self._write(data)
        return len(data)

    def close(self) -> None:
        """Write the end mark and the CRC; a second time does nothing."""
        if not self._closed:
            self._closed = True
            self._write(_END)
            self._write(self._crc.to_bytes(_CRC_BYTES, "big"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._crc = zlib.crc32(data, self._crc)
        self._size_bytes += len(data)
