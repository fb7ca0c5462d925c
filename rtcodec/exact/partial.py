"""
A file of exact pictures of which parts have come: what can be shown of it, what is proven.

    ranges ─▶ file ─▶ header, heads ─▶ steps of tiles ─▶ coarse samples ─▶ a proven frame

No I/O. Bytes come from outside: what is damaged raises `BitstreamError`.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from rtcodec.bitstream.byte_ranges import ByteRanges
from rtcodec.bitstream.exact_file import FrameKind
from rtcodec.bitstream.exact_format import ExactFormat
from rtcodec.bitstream.exact_index import (
    FrameHead,
    Region,
    frame_offsets,
    head_max_bytes,
    read_frame_head,
    read_header,
    step_spans,
)
from rtcodec.errors import Corrupt, Truncated
from rtcodec.exact.fallback import decode_otherwise
from rtcodec.exact.frame import (
    FrameCoder,
    Samples,
    is_proven,
    sample_type,
    spacing_of,
    tile_spans,
)


class PartialPicture:
    """One file, as far as it has come."""

    def __init__(self, header_bytes: int, frame_bytes: Sequence[int]) -> None:
        """
        Args:
            header_bytes: Of the header.
            frame_bytes: Of each frame, head and payloads.
        """
        self.held = ByteRanges()
        "Which bytes have come."
        self.repeated_bytes = 0
        "Of what came, how much was there before."
        self._header_bytes = header_bytes
        self._offsets = frame_offsets(header_bytes, frame_bytes)
        self._data = bytearray(self._offsets[-1] + 5)
        self._header: ExactFormat | None = None
        self._heads: dict[int, FrameHead] = {}
        self._coder: FrameCoder | None = None

    @property
    def n_frames(self) -> int:
        """Frames of the file."""
        return len(self._offsets) - 1

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return len(self._data)

    @property
    def data(self) -> bytes:
        """The file; zeros where nothing has come."""
        return bytes(self._data)

    def frame_at(self, offset: int) -> int:
        """Return the frame that a byte of the file is of; -1 for the header, or n_frames."""
        return bisect_right(self._offsets, offset) - 1

    def put(self, offset: int, data: bytes) -> None:
        """
        Put in what has come.

        Raises:
            Corrupt: If it lies outside the file.
        """
        end = offset + len(data)
        if end > len(self._data):
            raise Corrupt(f"bytes up to {end} of a file of {len(self._data)}", offset=offset)
        before = self.held.size_bytes
        self._data[offset:end] = data
        self.held.add(offset, end)
        self.repeated_bytes += len(data) - (self.held.size_bytes - before)

    def header(self) -> ExactFormat | None:
        """
        Return the header, or None until it is there.

        Raises:
            BitstreamError: If it is damaged, or of another number of frames.
        """
        if self._header is None and self.held.covers(0, self._header_bytes):
            header, size = read_header(bytes(self._data[: self._header_bytes]))
            if (header.frames, size) != (self.n_frames, self._header_bytes):
                raise Corrupt("the header is not the one that the index is of", offset=0)
            self._header = header
        return self._header

    def head(self, frame: int) -> FrameHead | None:
        """
        Return the head of a frame, or None until header and head are there.

        Raises:
            BitstreamError: If it is damaged.
        """
        header = self.header()
        if header is None:
            return None
        if frame not in self._heads:
            start, end = self._offsets[frame : frame + 2]
            there = min(self.held.reach(start), end, start + head_max_bytes(header))
            try:
                head = read_frame_head(header, bytes(self._data[start:there]))
            except Truncated:
                if there == end:
                    raise
                return None
            if head.frame_bytes != end - start:
                raise Corrupt(f"frame {frame} is of another size than the index says", offset=start)
            self._heads[frame] = head
        return self._heads[frame]

    def steps(self, frame: int, region: Region | None = None) -> int:
        """
        Return how many steps of all tiles of a frame, or of a region's, are there.

        From 0 to the header's `steps`; STEPS of more are every sample within its `bound`.

        Raises:
            BitstreamError: If header or head are damaged.
        """
        header, head = self.header(), self.head(frame)
        if header is None or head is None:
            return 0
        start = self._offsets[frame]
        for step in range(header.steps):
            spans = step_spans(header, head, step, region)
            if not all(self.held.covers(start + a, start + b) for a, b in spans):
                return step if head.kind == FrameKind.TILES else 0
        return header.steps

    def coarse(self, frame: int, steps: int) -> Samples:
        """
        Return every 2**(6 - steps)-th row and column of a frame, not proven.

        Args:
            frame: One of TILES, of which so many steps are there.
            steps: 1 to the header's.

        Raises:
            Corrupt: If a payload is damaged.
        """
        header, head, coder = self._opened(frame)
        coded = head.open_frame(
            self._data, self._offsets[frame], upto=steps * len(head.ends) // header.steps
        )
        spacing = spacing_of(steps)
        shape = (-(-header.height // spacing), -(-header.width // spacing), header.channels)
        out = np.empty(shape, sample_type(header.bits, signed=header.signed))
        for span in tile_spans(header):
            rows, columns = (
                slice(part.start // spacing, -(-part.stop // spacing))
                for part in (span.rows, span.columns)
            )
            out[rows, columns] = coder.decode_tile(coded, span, steps=steps)
        return out

    def prove(self, frame: int) -> Samples:
        """
        Return a whole frame, its hash compared.

        Raises:
            Corrupt: If a payload is damaged, or a check word or the hash differs.
        """
        header, head, coder = self._opened(frame)
        coded = head.open_frame(self._data, self._offsets[frame])
        is_tiles = head.kind == FrameKind.TILES
        samples = coder.decode(coded) if is_tiles else decode_otherwise(header, coded)
        if not is_proven(header, coded, samples):
            raise Corrupt(f"frame {frame} is not what was encoded: its hash differs", offset=0)
        return samples

    def _opened(self, frame: int) -> tuple[ExactFormat, FrameHead, FrameCoder]:
        header, head = self.header(), self.head(frame)
        assert header is not None  # `steps`
        assert head is not None
        if self._coder is None:
            self._coder = FrameCoder(header)
        return header, head, self._coder


def prove_fallback(data: bytes, header: ExactFormat, head: FrameHead) -> Samples:
    """
    Return the frame that a fallback holds, if it is the one that was promised.

    Args:
        data: An exact file of one frame that is not of TILES.
        header: Of the file that it stands in for.
        head: Of the frame that it stands in for.

    Raises:
        BitstreamError: If it is damaged, or another.
    """
    own, size = read_header(data)
    same = ("width", "height", "bits", "signed")
    if any(getattr(own, name) != getattr(header, name) for name in same):
        raise Corrupt("the fallback is of another picture", offset=0)
    own_head = read_frame_head(own, data[size:])
    if own_head.kind == FrameKind.TILES or len(data) < size + own_head.frame_bytes:
        raise Corrupt("the fallback is incomplete, or no fallback", offset=0)
    coded = own_head.open_frame(data, size)
    samples = decode_otherwise(own, coded)
    if head.digest != own_head.digest or not is_proven(own, coded, samples):
        raise Corrupt("the fallback is not what was encoded: its hash differs", offset=0)
    return samples
