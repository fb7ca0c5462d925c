"""
Frames of samples to tiles and back, proven (SPEC.md 2).

    samples [rows, columns, components] ─▶ components 0..high ─▶ tiles ─▶ payloads
                                           or numbers of colours

Whatever `FrameCoder.encode` returns was decoded again and compared. No I/O.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.exact_file import ExactFrame, FrameKind, place_of
from rtcodec.bitstream.exact_format import GREEN, STEPS, ExactFormat
from rtcodec.errors import Corrupt
from rtcodec.exact.native import TileCoder
from rtcodec.exact.palette import Palette
from rtcodec.exact.proof import frame_digest, tile_check

Samples = NDArray[np.integer]
"[rows, columns, components], of the picture's type: see `sample_type`."

Fallback = Callable[[ExactFormat, Samples], ExactFrame]
"What codes a frame that did not come back as it must, see `rtcodec.exact.fallback`."


@dataclass(frozen=True, slots=True)
class TileSpan:
    """Where a tile lies in a frame."""

    number: int
    rows: slice
    columns: slice


def sample_type(bits: int, *, signed: bool) -> np.dtype[np.integer]:
    """Return the type of samples in arrays: 8 or 16 bits."""
    return np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")


def spacing_of(steps: int) -> int:
    """Return how far rows and columns are apart of which so many *steps* are there, 1 or more."""
    return 1 << max(STEPS - steps, 0)


def tile_spans(header: ExactFormat) -> Iterator[TileSpan]:
    """Give out the tiles of a frame in raster order."""
    side = 1 << header.tile_bits
    rows, columns = header.tiles
    for number in range(rows * columns):
        top, left = number // columns * side, number % columns * side
        bottom, right = min(top + side, header.height), min(left + side, header.width)
        yield TileSpan(number, slice(top, bottom), slice(left, right))


def coding_order(header: ExactFormat) -> tuple[int, ...]:
    """Return the components in the order in which an encoder can code them."""
    is_green_first = header.differences and header.max_error > 0
    return (GREEN, 0, 2) if is_green_first else tuple(range(len(header.components)))


def split_tile(header: ExactFormat, block: Samples) -> list[NDArray[np.uint16]]:
    """
    Return what is coded of each component of *block*; `join_tile` is the inverse.

    Within a bound and with differences, that of all but the second one is as if it were exact.
    """
    n = len(header.components)
    green = block[..., GREEN] if header.differences else None
    return [split_component(header, block, k, green) for k in range(n)]


def split_component(
    header: ExactFormat, block: Samples, number: int, green: NDArray[np.integer] | None
) -> NDArray[np.uint16]:
    """
    Return what is coded of one component.

    Args:
        header: Of the picture.
        block: [rows, columns, components].
        number: Of the component.
        green: What the second one is decoded to, where there are differences.
    """
    plane = block[..., number].astype(np.int32)
    if green is not None and number != GREEN:
        plane = plane - green
        if header.is_modular:
            modulus = 1 << header.bits
            plane = (plane + modulus // 2) % modulus
    moved: NDArray[np.uint16] = (plane - header.components[number].low).astype(np.uint16)
    return moved


def join_tile(header: ExactFormat, planes: Sequence[NDArray[np.uint16]]) -> Samples:
    """Return a block of samples from what was coded of each component."""
    moved = [
        plane.astype(np.int32) + component.low
        for plane, component in zip(planes, header.components, strict=True)
    ]
    if header.differences:
        modulus = 1 << header.bits
        for k in (0, 2):
            if header.is_modular:
                moved[k] = (moved[k] + moved[GREEN] - modulus // 2) % modulus
            else:
                moved[k] = np.clip(moved[k] + moved[GREEN], 0, modulus - 1)
    return np.stack(moved, -1).astype(sample_type(header.bits, signed=header.signed))


class FrameCoder:
    """Frames of one picture, one after the other; a decoder for tiles of any of them."""

    def __init__(self, header: ExactFormat) -> None:
        self._header = header
        dtype = sample_type(header.bits, signed=header.signed)
        self._palette = Palette(header.palette, dtype) if header.palette else None
        n = len(header.components)
        self._coders = [TileCoder(header.model(k)) for k in range(n)]

    def encode(self, frame: Samples, fallback: Fallback) -> ExactFrame:
        """
        Encode a frame, decode it and compare.

        Args:
            frame: Every sample in the ranges, or colour in the palette, that the header names.
            fallback: What to write instead if it did not come back as it must.
        """
        header = self._header
        if frame.shape != (header.height, header.width, header.channels):
            raise ValueError(f"a frame of shape {frame.shape}")
        coded = self._encode_tiles(frame)
        try:
            decoded = self.decode(coded)
        except Corrupt:
            return fallback(header, frame)
        if not _is_within(decoded, frame, header.max_error):
            return fallback(header, frame)
        digest = frame_digest(decoded, header.bits, signed=header.signed)
        return ExactFrame(coded.kind, digest, coded.checks, coded.payloads)

    def decode(self, coded: ExactFrame) -> Samples:
        """
        Decode a frame of TILES, not yet proven.

        Raises:
            Corrupt: If a payload is, or a tile does not match its check word.
        """
        header = self._header
        shape = (header.height, header.width, header.channels)
        frame = np.empty(shape, sample_type(header.bits, signed=header.signed))
        for span in tile_spans(header):
            frame[span.rows, span.columns] = self.decode_tile(coded, span)
        return frame

    def decode_tile(
        self, coded: ExactFrame, span: TileSpan, *, steps: int | None = None
    ) -> Samples:
        """
        Return one tile, or with fewer *steps* every 2**(6 - steps)-th row and column of it.

        After six of seven steps every sample is within the header's bound.

        Args:
            coded: Of TILES; payloads of later steps may be missing.
            span: Which tile.
            steps: 1 to the header's; None: all.

        Raises:
            Corrupt: If a payload is, or the whole tile does not match its check word.
        """
        header = self._header
        steps = header.steps if steps is None else steps
        n_tiles = header.tiles[0] * header.tiles[1]
        shape = (span.rows.stop - span.rows.start, span.columns.stop - span.columns.start)
        planes = []
        for k, coder in enumerate(self._coders):
            samples = np.zeros(shape, np.uint16)
            coder.begin(*shape)
            for step in range(steps):
                coder.decode(coded.payloads[place_of(header, step, k, span.number)], samples)
            if (
                steps == header.steps
                and tile_check(samples) != coded.checks[k * n_tiles + span.number]
            ):
                raise Corrupt(f"tile {span.number} of component {k} is damaged", offset=0)
            spacing = spacing_of(steps)
            planes.append(samples[::spacing, ::spacing])
        return self._palette.colors(planes[0]) if self._palette else join_tile(header, planes)

    def _encode_tiles(self, frame: Samples) -> ExactFrame:
        header = self._header
        n_tiles = header.tiles[0] * header.tiles[1]
        payloads = [b""] * (header.steps * len(self._coders) * n_tiles)
        checks = [0] * (len(self._coders) * n_tiles)
        for span in tile_spans(header):
            block, green = frame[span.rows, span.columns], None
            if self._palette:
                block = self._palette.numbers(block)
            for k in coding_order(header):
                if header.differences and not header.max_error:
                    green = block[..., GREEN]
                samples = split_component(header, block, k, green)
                coder = self._coders[k]
                coder.begin(*samples.shape)
                for step in range(header.steps):
                    payloads[place_of(header, step, k, span.number)] = coder.encode(samples)
                checks[k * n_tiles + span.number] = tile_check(samples)
                if header.max_error and header.differences and k == GREEN:
                    green = samples.astype(np.int32) + header.components[GREEN].low
        return ExactFrame(FrameKind.TILES, b"", tuple(checks), tuple(payloads))


def is_proven(header: ExactFormat, coded: ExactFrame, frame: Samples) -> bool:
    """Say whether *frame* has the hash that its encoder found."""
    return frame_digest(frame, header.bits, signed=header.signed) == coded.digest


def _is_within(decoded: Samples, frame: Samples, max_error: int) -> bool:
    apart = (np.abs(a.astype(np.int32) - b) for a, b in zip(decoded, frame, strict=True))
    return all(int(row.max(initial=0)) <= max_error for row in apart)
