"""
Where everything lies in a file of exact pictures (rtcodec/exact/SPEC.md 2).

    header | frame 0: head, payloads | frame 1: head, payloads | ... | end

For those who send or receive a file in parts: any byte has an address, and a head says what the
payloads after it are. `exact_file` reads files from the first byte to the last. No I/O.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Protocol

from rtcodec.bitstream.cursor import Cursor
from rtcodec.bitstream.exact_file import (
    DIGEST_BYTES,
    ExactFrame,
    FrameKind,
    count_payloads,
    place_of,
    read_kind,
)
from rtcodec.bitstream.exact_format import HEADER_MAX_BYTES, ExactFormat, read_exact_header_at
from rtcodec.errors import Corrupt, Truncated

END_BYTES: Final = 5
"After the last frame: a zero byte and a CRC."

_SIZE_MAX: Final = 1 << 34  # of a payload: more than a frame of the largest size takes


class Bytes(Protocol):
    """A file in memory: bytes, or a map of one."""

    def __len__(self) -> int:
        """Its size."""

    def __getitem__(self, key: slice, /) -> bytes | bytearray:
        """Part of it."""


@dataclass(frozen=True, slots=True)
class FrameHead:
    """What comes before the payloads of a frame."""

    kind: FrameKind
    digest: bytes
    checks: tuple[int, ...]
    "As in `ExactFrame`."

    size_bytes: int
    "Of the head itself."

    ends: tuple[int, ...]
    "For each payload: where it ends, counted from the first byte of the first."

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Return where the payloads *first* to *last* lie, counted from the frame's first byte."""
        start = self.ends[first - 1] if first else 0
        return self.size_bytes + start, self.size_bytes + self.ends[last]

    @property
    def frame_bytes(self) -> int:
        """Bytes of head and payloads."""
        return self.size_bytes + self.ends[-1]

    def open_frame(self, data: Bytes, offset: int, *, upto: int | None = None) -> ExactFrame:
        """
        Return the frame as coded.

        Args:
            data: The file.
            offset: Of the frame's first byte.
            upto: Payloads from this one on are left empty; None: all are there.
        """
        count = len(self.ends) if upto is None else upto
        payloads = [bytes(data[slice(*self._at(offset, k))]) for k in range(count)]
        empty = [b""] * (len(self.ends) - count)
        return ExactFrame(self.kind, self.digest, self.checks, (*payloads, *empty))

    def _at(self, offset: int, place: int) -> tuple[int, int]:
        start, end = self.span(place, place)
        return offset + start, offset + end


@dataclass(frozen=True, slots=True)
class Region:
    """A part of each frame, in tiles: rows and columns from the first up to the end."""

    top: int
    left: int
    bottom: int
    right: int


def head_max_bytes(header: ExactFormat) -> int:
    """Return the most bytes that a frame's head takes."""
    n_checks = _count_tiles(header)
    return 1 + DIGEST_BYTES + 4 * n_checks + 10 + 5 * max(header.steps * n_checks, 4)


def read_header(data: bytes) -> tuple[ExactFormat, int]:
    """
    Read a file's header; return it and its size in bytes.

    Raises:
        BitstreamError: As `read_exact_header_at`; `Truncated` if more bytes are needed.
    """
    cursor = Cursor(data[:HEADER_MAX_BYTES])
    return read_exact_header_at(cursor, data), cursor.offset


def read_frame_head(header: ExactFormat, data: bytes) -> FrameHead:
    """
    Read the head of a frame.

    Args:
        header: Of the file.
        data: From the frame's first byte; may go on after the head.

    Raises:
        Truncated: If more bytes are needed.
        Corrupt: If a field is out of range.
    """
    cursor = Cursor(data)
    kind = read_kind(header, cursor.u8("kind"), 0)
    digest = cursor.raw("sha256", DIGEST_BYTES)
    n_checks = _count_tiles(header) if kind == FrameKind.TILES else 0
    checks = tuple(cursor.u32("check") for _ in range(n_checks))
    count = count_payloads(header, kind)
    inner = cursor.inner("sizes", cursor.varint("sizes_bytes", limit=5 * count))
    sizes = [inner.varint("size", limit=_SIZE_MAX) for _ in range(count)]
    inner.end("sizes")
    return FrameHead(kind, digest, checks, cursor.offset, tuple(accumulate(sizes)))


def index_frames(header: ExactFormat, header_bytes: int, data: Bytes) -> tuple[int, ...]:
    """
    Return the bytes of each frame of a whole file.

    Raises:
        BitstreamError: If a head is damaged, or the file does not end after the last frame.
    """
    sizes = []
    offset, bound = header_bytes, head_max_bytes(header)
    for _ in range(header.frames):
        sizes.append(read_frame_head(header, bytes(data[offset : offset + bound])).frame_bytes)
        offset += sizes[-1]
    if offset + END_BYTES > len(data):
        raise Truncated("the file ends within a frame", offset=len(data))
    if offset + END_BYTES < len(data):
        raise Corrupt("bytes after the end of the file", offset=offset + END_BYTES)
    return tuple(sizes)


def step_spans(
    header: ExactFormat, head: FrameHead, step: int, region: Region | None
) -> Iterator[tuple[int, int]]:
    """
    Give out where the payloads of one step lie, in order, counted from the frame's first byte.

    Args:
        header: Of the file.
        head: Of the frame; of one that is not of TILES, all is the last step's.
        step: 0 the coarsest.
        region: Which tiles; None: all.
    """
    if head.kind != FrameKind.TILES:
        if step == header.steps - 1:
            yield head.span(0, len(head.ends) - 1)
        return
    rows, columns = header.tiles
    n_components = len(header.components)
    if region is None:
        yield head.span(*_outer(header, step, n_components * rows * columns))
        return
    for component in range(n_components):
        for row in range(region.top, region.bottom):
            first = place_of(header, step, component, row * columns + region.left)
            yield head.span(first, first + region.right - region.left - 1)


def region_of(header: ExactFormat, x: int, y: int, width: int, height: int) -> Region | None:
    """Return the tiles that a rectangle of samples touches, or None if it touches none."""
    side = header.tile_bits
    right, bottom = min(x + width, header.width), min(y + height, header.height)
    if x >= right or y >= bottom:
        return None
    return Region(y >> side, x >> side, (bottom - 1 >> side) + 1, (right - 1 >> side) + 1)


def frame_offsets(header_bytes: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """Return where each frame begins and, last, where the end of the file does."""
    return tuple(accumulate(sizes, initial=header_bytes))


def _count_tiles(header: ExactFormat) -> int:
    rows, columns = header.tiles
    return len(header.components) * rows * columns


def _outer(header: ExactFormat, step: int, count: int) -> tuple[int, int]:
    first = place_of(header, step, 0, 0)
    return first, first + count - 1
