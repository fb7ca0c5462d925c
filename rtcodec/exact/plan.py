"""
What an encoder chooses for a picture before it codes a frame: ranges, padding, differences, a
palette, fits.

Everything is tried on a few tiles and the smallest is taken. No I/O.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.exact_format import (
    ALL_STEPS,
    GREEN,
    STEPS,
    Component,
    ExactFormat,
    Fits,
    TileModel,
    common_fits,
    write_exact_header,
)
from rtcodec.exact.fit import fit_refinement, fit_tiles
from rtcodec.exact.frame import Samples, coding_order, split_component, split_tile, tile_spans
from rtcodec.exact.native import TileCoder
from rtcodec.exact.palette import Colors, Palette, find_colors

TILE_BITS: Final = 8

SMALL: Final = 1 << 19
"Pixels up to which a picture has tiles of 512: 1 % less, and of so few nobody asks for a part."

TRIED_TILES: Final = 8
"Tiles that fits are made of and choices tried on."

_PAD_SHARE: Final = 0.01  # padding is at least so much of a component
_BOUND_WORTH: Final = 0.9  # of the bytes that a palette must be below to be taken for a bound


def plan_picture(
    frames: Sequence[Samples],
    *,
    bits: int,
    signed: bool,
    max_error: int = 0,
    bound: int = 0,
    may_drop_bound: bool = False,
    notes: bytes = b"",
) -> ExactFormat:
    """
    Return the header for a picture.

    Args:
        frames: At least one, each [rows, columns, components], all of a shape; looked at twice.
        bits: Of a sample, 1 to 16.
        signed: Whether samples may be negative.
        max_error: Most by which a decoded sample may differ; 0: exact.
        bound: Where it is exact: what every sample is within on the way, or 0.
        may_drop_bound: Whether a palette, which has none, may be taken if it is worth that.
        notes: What else belongs to the picture, see `ExactFormat`.
    """
    height, width, n_components = frames[0].shape
    whole = Component(0, (1 << bits) - 1, None, common_fits(bound))
    plain = ExactFormat(
        width, height, len(frames), bits, signed, False, _tile_bits(width * height), max_error,
        (whole,) * n_components, notes, bound,
    )  # fmt: skip
    can_differ = n_components == 3 and not signed and (not (max_error or bound) or bits < 16)
    differing = replace(plain, differences=True)
    if can_differ:
        ways = [plain, differing]
        if differing.is_modular and bits < 16:
            ways.append(replace(differing, is_unwrapped=True))
        ways[1:] = [replace(way, components=_ranges(way, frames[:1])) for way in ways[1:]]
        plain = min(ways, key=lambda way: _roughness(way, frames[0]))  # the first of the best
    ranged = replace(plain, components=_ranges(plain, frames))
    blocks = _tried_blocks(ranged, frames)
    greens: Sequence[NDArray[np.integer] | None]
    greens = [block[..., GREEN] for block in blocks] if ranged.differences else [None] * len(blocks)
    components, size = list(ranged.components), 0.0
    for k in coding_order(ranged):
        tiles = [
            split_component(ranged, block, k, green)
            for block, green in zip(blocks, greens, strict=True)
        ]
        components[k], its_size = _choose(ranged, k, tiles)
        size += its_size
        if k == GREEN and ranged.differences and max_error:
            model = replace(ranged, components=tuple(components)).model(k)
            greens = [_code(model, tile)[1] + np.int32(components[k].low) for tile in tiles]
    planned = replace(ranged, components=tuple(components))
    if max_error or (bound and not may_drop_bound):
        return planned
    colors = find_colors(frames)
    if colors is None:
        return planned
    numbered, its_size = _plan_palette(planned, colors, blocks, frames[0].dtype)
    return numbered if its_size < size * (_BOUND_WORTH if bound else 1) else planned


def _tile_bits(pixels: int) -> int:
    return TILE_BITS + 1 if pixels <= SMALL else TILE_BITS


def _plan_palette(
    header: ExactFormat, colors: Colors, blocks: Sequence[Samples], dtype: np.dtype[np.integer]
) -> tuple[ExactFormat, float]:
    """Return *header* with a palette in place of differences and bound, and what it takes."""
    one = Component(0, len(colors) - 1, None, common_fits(0))
    header = replace(
        header, differences=False, is_unwrapped=False, bound=0, components=(one,), palette=colors
    )
    palette = Palette(colors, dtype)
    one, size = _choose(header, 0, [palette.numbers(block)[..., 0] for block in blocks])
    return replace(header, components=(one,)), size


def _roughness(header: ExactFormat, frame: Samples) -> int:
    """Return how much neighbours differ in what is coded of some rows."""
    some = frame[:: max(1, len(frame) // 64)]
    unsigned = split_tile(header, some)
    return sum(int(np.abs(np.diff(plane.astype(np.int32), axis=1)).sum()) for plane in unsigned)


def _ranges(header: ExactFormat, frames: Sequence[Samples]) -> tuple[Component, ...]:
    """Return components with the least and the largest sample of all frames."""
    most = (1 << header.bits) - 1
    lows = [1 << 16] * len(header.components)
    highs = [-(1 << 16)] * len(lows)
    for frame in frames:
        for k in range(len(lows)):
            if not header.differences or k == GREEN:
                low, high = int(frame[..., k].min()), int(frame[..., k].max())
            elif header.is_modular:  # they take all values
                low, high = 0, most
            else:
                low, high = _apart(frame, k, header.max_error, most)
            lows[k], highs[k] = min(lows[k], low), max(highs[k], high)
    return tuple(
        Component(low, high - low, None, common_fits(header.bound))
        for low, high in zip(lows, highs, strict=True)
    )


def _apart(frame: Samples, number: int, max_error: int, most: int) -> tuple[int, int]:
    """Return the least and the largest difference from GREEN, which may be off by *max_error*."""
    low, high = most, -most
    for row in frame:  # one at a time: no second copy of a large frame
        apart = row[:, number].astype(np.int32) - row[:, GREEN]
        low, high = min(low, int(apart.min())), max(high, int(apart.max()))
    return max(low - max_error, -most), min(high + max_error, most)


def _tried_blocks(header: ExactFormat, frames: Sequence[Samples]) -> list[Samples]:
    """Return some tiles, spread over frames and places."""
    spans = list(tile_spans(replace(header, tile_bits=TILE_BITS)))
    count = min(TRIED_TILES, len(spans) * len(frames))
    places = (number * (len(spans) * len(frames)) // count for number in range(count))
    return [
        frames[place // len(spans)][span.rows, span.columns]
        for place in places
        for span in (spans[place % len(spans)],)
    ]


def _choose(
    header: ExactFormat, number: int, tiles: Sequence[NDArray[np.uint16]]
) -> tuple[Component, float]:
    """Return a component whose padding and fits cost least on *tiles*, and what it takes."""
    component, plain = header.components[number], header.model(number)
    values, counts = np.unique(np.concatenate([tile.ravel() for tile in tiles]), return_counts=True)
    often = int(values[counts.argmax()])
    pads: list[int | None] = [None]
    if counts.max() >= _PAD_SHARE * counts.sum() and len(values) > 1:
        pads.append(often)
    share = sum(tile.size for tile in tiles) / (header.width * header.height * header.frames)
    best, least = component, float("inf")
    for pad in pads:
        for fits in (common_fits(header.bound), _found_fits(replace(plain, pad=pad), tiles)):
            tried = replace(component, pad=pad, fits=fits)
            one = replace(header, components=(tried,), differences=False, notes=b"")
            model = replace(plain, pad=pad, fits=fits)
            coded = sum(_code(model, tile)[0] for tile in tiles)
            size = len(write_exact_header(one)) + coded / share
            if size < least:
                best, least = tried, size
    return best, least


def _found_fits(model: TileModel, tiles: Sequence[NDArray[np.uint16]]) -> Fits:
    """Return what suits *tiles* best, as many groups as *model* has."""
    found = fit_tiles(tiles, model.high, model.pad, model.max_error, model.bound)
    if len(model.fits) == len(found):
        return found
    last = model.fits[-1]
    if model.bound:
        tried = replace(model, fits=(*found, last))
        last = fit_refinement(tiles, [_code(tried, tile)[2] for tile in tiles], model.pad)
    return (*found, last)


def _code(
    model: TileModel, tile: NDArray[np.uint16]
) -> tuple[int, NDArray[np.uint16], NDArray[np.uint16]]:
    """Return how many bytes a tile takes, what a decoder has of it, and after STEPS steps."""
    coder = TileCoder(model)
    samples, near = tile.copy(), tile.copy()
    coder.begin(*samples.shape)
    payloads = [coder.encode(samples) for _ in range(ALL_STEPS if model.bound else STEPS)]
    if model.bound:
        coder.begin(*samples.shape)
        for payload in payloads[:STEPS]:
            coder.decode(payload, near)
    return sum(map(len, payloads)), samples, near
