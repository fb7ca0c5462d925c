"""
Read and write the few number forms that every structure is made of (spec 1).

    fixed    u8, u16, u32 and raw bytes, big-endian
    varint   7 bits a byte, low first, bit 7 set on all but the last byte,
             in the fewest bytes that hold the value

A cursor can record what it read: `rtcodec inspect` is the parser itself, watched.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rtcodec.errors import BitstreamError, Corrupt, Truncated


@dataclass(frozen=True, slots=True)
class Field:
    """One field as it was read, for `rtcodec inspect`."""

    offset: int
    "First byte, from the start of the outermost bytes."

    size_bytes: int
    "Bytes taken; 0 for the start of a structure."

    name: str
    "Dotted path, such as `unit[3].packet[0].qp`."

    value: int | str
    "What the bytes say; raw bytes as hexadecimal, shortened when long."

    meaning: str = ""
    "In words, where the value alone does not say it."


class Cursor:
    """
    A position in bytes from outside; never moves beyond their end.

    Running out raises `Truncated` at top level, where more bytes may come, and
    `Corrupt` inside a structure whose size is known.
    """

    def __init__(
        self,
        data: bytes,
        *,
        origin: int = 0,
        fields: list[Field] | None = None,
        path: str = "",
        bounded: bool = False,
    ) -> None:
        """
        Start at the first byte of *data*.

        Args:
            data: What may be read.
            origin: Offset of *data* within what errors and fields count from.
            fields: Where to record what is read, or None.
            path: Put before the name of each recorded field.
            bounded: Whether the end of *data* is the end of a structure.
        """
        self._data = data
        self._position = 0
        self._origin = origin
        self._fields = fields
        self._path = path
        self._overrun: type[BitstreamError] = Corrupt if bounded else Truncated

    @property
    def offset(self) -> int:
        """Where the next byte is read, counted from the origin."""
        return self._origin + self._position

    @property
    def remaining(self) -> int:
        """Bytes left."""
        return len(self._data) - self._position

    def u8(self, name: str) -> int:
        """Read one byte; like all of these, raises on too few."""
        return self._fixed(name, 1)

    def u16(self, name: str) -> int:
        """Read two bytes, big-endian."""
        return self._fixed(name, 2)

    def u32(self, name: str) -> int:
        """Read four bytes, big-endian."""
        return self._fixed(name, 4)

    def raw(self, name: str, size: int) -> bytes:
        """Read *size* bytes as they are."""
        start = self._advance(name, size)
        value = self._data[start : start + size]
        if self._fields is not None:
            shown = value.hex() if size <= 16 else f"{value[:16].hex()}..."
            self._record(name, start, size, shown)
        return value

    def peek(self, name: str, ahead: int) -> int:
        """Return the byte *ahead* of the position without stepping over anything."""
        start = self._position
        try:
            return self._data[self._advance(name, ahead + 1) + ahead]
        finally:
            self._position = start

    def varint(self, name: str, *, limit: int) -> int:
        """
        Read one varint of 0 to *limit*.

        Raises:
            Corrupt: If the value exceeds *limit* or is not in its shortest form.
        """
        start = self._position
        value = shift = 0
        while True:
            byte = self._data[self._advance(name, 1)]
            value |= (byte & 0x7F) << shift
            shift += 7
            if value > limit or (byte & 0x80 and 1 << shift > limit):
                raise Corrupt(f"{name} exceeds {limit}", offset=self._origin + start)
            if not byte & 0x80:
                break
        if byte == 0 and shift > 7:
            raise Corrupt(f"{name} is not in its shortest form", offset=self._origin + start)
        if self._fields is not None:
            self._record(name, start, self._position - start, value)
        return value

    def inner(self, name: str, size: int) -> "Cursor":
        """Return a cursor over the next *size* bytes, a structure, and step over them."""
        start = self._advance(name, size)
        return Cursor(
            self._data[start : start + size],
            origin=self._origin + start,
            fields=self._fields,
            path=self._path,
            bounded=True,
        )

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """Put *name* before the fields read meanwhile."""
        outer = self._path
        self._path = f"{outer}{name}."
        try:
            yield
        finally:
            self._path = outer

    def explain(self, meaning: Callable[[], str]) -> None:
        """Put the last field read into words; not called when nothing is recorded."""
        if self._fields is not None:
            self._fields[-1] = replace(self._fields[-1], meaning=meaning())

    def end(self, what: str) -> None:
        """
        Check that nothing is left.

        Raises:
            Corrupt: If bytes are left over.
        """
        if self.remaining:
            raise Corrupt(f"{self.remaining} bytes after the {what}", offset=self.offset)

    def _fixed(self, name: str, size: int) -> int:
        start = self._advance(name, size)
        value = int.from_bytes(self._data[start : start + size], "big")
        if self._fields is not None:
            self._record(name, start, size, value)
        return value

    def _advance(self, name: str, size: int) -> int:
        start = self._position
        if size > len(self._data) - start:
            raise self._overrun(
                f"{name} needs {size} bytes, {self.remaining} are left",
                offset=self._origin + len(self._data),
            )
        self._position = start + size
        return start

    def _record(self, name: str, start: int, size: int, value: int | str) -> None:
        assert self._fields is not None
        self._fields.append(Field(self._origin + start, size, self._path + name, value))


def write_varint(value: int) -> bytes:
    """Write 0 or a positive *value* as the varint that `Cursor.varint` reads."""
    assert value >= 0
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
