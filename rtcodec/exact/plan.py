"""
What an encoder chooses for a picture before it codes a frame: ranges, padding, differences, fits.

Everything is tried on a few tiles and the smallest is taken. No I/O.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.exact_file import STEPS
from rtcodec.bitstream.exact_format import (
    COMMON_FITS,
    Component,
    ExactFormat,
    TileModel,
    write_exact_header,
)
from rtcodec.exact.fit import fit_tiles
from rtcodec.exact.frame import Samples, split_tile, tile_spans
from rtcodec.exact.native import TileCoder

TILE_BITS: Final = 8
TRIED_TILES: Final = 8
"Tiles that fits are made of and choices tried on."

_PAD_SHARE: Final = 0.01  # padding is at least so much of a component


def plan_picture(
    frames: Sequence[Samples],
    *,
    bits: int,
    signed: bool,
    max_error: int = 0,
    notes: bytes = b"",
) -> ExactFormat:
    """
    Return the header for a picture.

    Args:
        frames: At least one, each [rows, columns, components], all of a shape; looked at twice.
        bits: Of a sample, 1 to 16.
        signed: Whether samples may be negative.
        max_error: Most by which a decoded sample may differ; 0: exact.
        notes: What else belongs to the picture, see `ExactFormat`.
    """
    height, width, n_components = frames[0].shape
    whole = Component(0, (1 << bits) - 1, None, COMMON_FITS)
    plain = ExactFormat(
        width, height, len(frames), bits, signed, False, TILE_BITS, max_error,
        (whole,) * n_components, notes,
    )  # fmt: skip
    can_differ = n_components == 3 and not signed and not max_error
    differing = replace(plain, differences=True)
    if can_differ and _roughness(differing, frames[0]) < _roughness(plain, frames[0]):
        plain = differing
    ranged = replace(plain, components=_ranges(plain, frames))
    tried = _tried_tiles(ranged, frames)
    components = tuple(
        _choose(component, [tiles[k] for tiles in tried], max_error, ranged)
        for k, component in enumerate(ranged.components)
    )
    return replace(ranged, components=components)


def _roughness(header: ExactFormat, frame: Samples) -> int:
    """Return how much neighbours differ in what is coded of some rows."""
    some = frame[:: max(1, len(frame) // 64)]
    unsigned = split_tile(header, some)
    return sum(int(np.abs(np.diff(plane.astype(np.int32), axis=1)).sum()) for plane in unsigned)


def _ranges(header: ExactFormat, frames: Sequence[Samples]) -> tuple[Component, ...]:
    """Return components with the least and the largest sample of all frames."""
    lows = [1 << 16] * len(header.components)
    highs = [-(1 << 16)] * len(lows)
    for frame in frames:
        for k in range(len(lows)):
            if not header.differences or k == 1:  # the others take all values: modulo
                lows[k] = min(lows[k], int(frame[..., k].min()))
                highs[k] = max(highs[k], int(frame[..., k].max()))
            else:
                lows[k], highs[k] = 0, (1 << header.bits) - 1
    return tuple(
        Component(low, high - low, None, COMMON_FITS) for low, high in zip(lows, highs, strict=True)
    )


def _tried_tiles(header: ExactFormat, frames: Sequence[Samples]) -> list[list[NDArray[np.uint16]]]:
    """Return what is coded of some tiles, spread over frames and places."""
    spans = list(tile_spans(header))
    count = min(TRIED_TILES, len(spans) * len(frames))
    places = (number * (len(spans) * len(frames)) // count for number in range(count))
    tiles = []
    for place in places:
        span = spans[place % len(spans)]
        block = frames[place // len(spans)][span.rows, span.columns]
        tiles.append(split_tile(header, block))
    return tiles


def _choose(
    component: Component,
    tiles: Sequence[NDArray[np.uint16]],
    max_error: int,
    header: ExactFormat,
) -> Component:
    """Return the component with the padding and the fits that cost least on *tiles*."""
    values, counts = np.unique(np.concatenate([tile.ravel() for tile in tiles]), return_counts=True)
    often = int(values[counts.argmax()])
    pads: list[int | None] = [None]
    if counts.max() >= _PAD_SHARE * counts.sum() and len(values) > 1:
        pads.append(often)
    share = sum(tile.size for tile in tiles) / (header.width * header.height * header.frames)
    best, least = component, float("inf")
    for pad in pads:
        found = fit_tiles(tiles, component.high, pad, max_error)
        for fits in (COMMON_FITS, found):
            tried = replace(component, pad=pad, fits=fits)
            one = replace(header, components=(tried,), differences=False, notes=b"")
            size = len(write_exact_header(one)) + _size(tried, tiles, max_error) / share
            if size < least:
                best, least = tried, size
    return best


def _size(component: Component, tiles: Sequence[NDArray[np.uint16]], max_error: int) -> int:
    """Return how many bytes *tiles* take."""
    coder = TileCoder(TileModel(component.high, component.pad, max_error, component.fits))
    total = 0
    for tile in tiles:
        samples = tile.copy()
        coder.begin(*samples.shape)
        total += sum(len(coder.encode(samples)) for _ in range(STEPS))
    return total
