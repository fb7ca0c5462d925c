"""
How the vectors of spatial frames, and of delta frames after them, are made: from dice alone.

Their model has no networks, so pictures are exact: each is in `expect.json` by its hash.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.packet import Description, Geometry, Packet, PacketHeader, state_id
from rtcodec.bitstream.tiles import split_tiles
from rtcodec.bundle import DELTA_LATENTS, Bundle
from rtcodec.conformance.dice import Dice
from rtcodec.conformance.exact import EXACT, HYPER_CHANNELS, LINEAR, exact_bundle
from rtcodec.conformance.model import part_of
from rtcodec.conformance.recipes import (
    Integers,
    Recipe,
    StreamMaker,
    header_of,
    sequence_of,
)
from rtcodec.entropy.contexts import STAGES, adjusted_stage
from rtcodec.entropy.native_tiles import gather_tiles, scatter_tiles
from rtcodec.motion.native import QUARTERS
from rtcodec.motion.vectors import CHANNELS, INTRA_CHANNEL, SPLIT_CHANNEL
from rtcodec.motion.within import LARGE_CHANNEL
from rtcodec.types import LayerId, tile_grid

_SIZES = ((64, 64), (200, 40), (30, 200), (1, 1), (65, 65), (320, 192))


@lru_cache(maxsize=2)
def exact_model(name: str = EXACT) -> Bundle:
    """Return the model of frames without networks, or the one with chroma from luma."""
    return exact_bundle(name)


def spatial_header(number: int = 0, *, qp: int = 24, lanes: int = 1) -> PacketHeader:
    """Return the header of a spatial frame; number 0 is a keyframe."""
    return replace(header_of(number, qp=qp, lanes=lanes), spatial=True)


def whole_header(number: int = 0, *, qp: int = 24, lanes: int = 1) -> PacketHeader:
    """As `spatial_header`, of a frame that is predicted across its tiles."""
    return replace(spatial_header(number, qp=qp, lanes=lanes), across_tiles=True)


def spatial_stream(
    width: int, height: int, *, references: int = 0, model: str = EXACT
) -> StreamMaker:
    """Return a stream without frames."""
    bundle = exact_model(model)
    return StreamMaker(bundle, replace(sequence_of(bundle, width, height), references=references))


def drawn_frame(
    seed: str,
    width: int,
    height: int,
    header: PacketHeader,
    *,
    one_in: int = 12,
    most: int = 3,
    rank_most: int = 17,
    at_rest: int = 0,
) -> Integers:
    """
    Draw the integers of a spatial or a delta frame.

    Args:
        seed: Of the dice.
        width: Of the frame, in pixels.
        height: Of the frame, in pixels.
        header: Says the kind, and the qp.
        one_in: One latent in so many says something, ...
        most: ... up to this.
        rank_most: The largest symbol of the ten that are no latents.
        at_rest: One tile in so many says nothing; 0: none.
    """
    part = part_of(exact_model(), header)
    assert part is not None
    dice = Dice(seed)
    rows, columns = tile_grid(width, height)
    z = dice.integers(-15, 15, HYPER_CHANNELS, rows, columns).astype(np.int8)
    places = (4 * rows, 4 * columns)
    latents = dice.integers(-most, most, DELTA_LATENTS, *places)
    latents[dice.integers(1, one_in, *latents.shape) > 1] = 0
    said = dice.integers(-rank_most, rank_most, CHANNELS, *places)
    said[SPLIT_CHANNEL] = dice.integers(-1, 1, *places)
    rare = dice.integers(-1, 3 if header.spatial else 20, *places)
    channel = LARGE_CHANNEL if header.spatial else INTRA_CHANNEL
    said[channel] = np.where(np.abs(rare) == 1, rare, 0)
    symbols = np.concatenate((latents, said)).astype(np.int16)
    if at_rest:
        rest = dice.integers(1, at_rest, rows, columns) == 1
        symbols[:, rest.repeat(4, 0).repeat(4, 1)] = 0
        z[:, rest] = 0
    indices = part.scale_net.indices_reference(z, header.qp)
    return Integers(z, _codable(symbols, indices, part), indices)


def _codable(
    symbols: NDArray[np.int16], indices: NDArray[np.uint8], part: Bundle
) -> NDArray[np.int16]:
    """Return symbols that are 0 where none is coded."""
    tables = part.entropy_tables
    assert tables.contexts is not None
    tiles = np.arange(symbols[0].size // 16, dtype=np.uint32)
    by_tile, of_tiles = gather_tiles(symbols, tiles), gather_tiles(indices, tiles)
    for stage, (first, end) in enumerate(STAGES):
        moved = adjusted_stage(stage, of_tiles, by_tile, tables.contexts, has_said=tables.has_said)
        by_tile[:, first:end][moved == 0] = 0
    out = np.empty_like(symbols)
    scatter_tiles(by_tile, tiles, out)
    return out


def spatial_packets(
    seed: str, maker: StreamMaker, header: PacketHeader, slices: int = 1, **drawn: int
) -> tuple[Packet, ...]:
    """Return a drawn frame in packets."""
    size = maker.sequence.width, maker.sequence.height
    runs = split_tiles(*size, slices, dispersed=True) if slices > 1 else (None,)
    return maker.code(drawn_frame(seed, *size, header, **drawn), header, runs)


def _smallest() -> bytes:
    maker = spatial_stream(1, 1)
    maker.add(0, spatial_packets("spatial smallest", maker, spatial_header()))
    return maker.stream()


def _modes() -> bytes:
    """Frames that say little but how they are predicted, then more, at many qp."""
    maker = spatial_stream(97, 70)
    for number, (qp, lanes) in enumerate(((0, 1), (12, 2), (24, 4), (36, 8), (50, 1), (63, 1))):
        header = spatial_header(number, qp=qp, lanes=lanes)
        few = {"one_in": 60 - 10 * number, "most": 40 // (1 + 3 * number) + 1}
        maker.add(number, spatial_packets(f"spatial modes {number}", maker, header, **few))
    return maker.stream()


def _slices() -> bytes:
    maker = spatial_stream(200, 130)
    for number, kept in enumerate(((0, 1, 2, 3), (0, 2, 3), (1, 2))):
        header = spatial_header(number, qp=20)
        packets = spatial_packets(f"spatial slices {number}", maker, header, 4)
        maker.add(number, [packets[i] for i in kept])
    return maker.stream()


def _extremes() -> bytes:
    return _extreme_frames("spatial extremes", spatial_stream(64, 64), spatial_header)


def _delta() -> bytes:
    """A keyframe, delta frames from it and from each other, another spatial frame between."""
    maker = spatial_stream(130, 70, references=2)
    plan = [  # reference, store, one tile in so many at rest
        (None, state_id(0, 0), 0),
        (state_id(0, 0), state_id(1, 0), 2),
        (state_id(1, 0), state_id(0, 1), 3),
        (None, state_id(1, 1), 0),
        (state_id(1, 1), None, 0),
        (state_id(0, 1), state_id(1, 2), 2),
    ]
    for number, (reference, store, at_rest) in enumerate(plan):
        header = header_of(number, qp=18 + 4 * number)
        if reference is None:
            header = replace(header, spatial=True)
        header = replace(header, reference=reference, store=store)
        drawn = {"one_in": 25, "at_rest": at_rest}
        packets = spatial_packets(f"spatial delta {number}", maker, header, 2, **drawn)
        maker.add(number, packets)
    return maker.stream()


def _across_tiles() -> bytes:
    """Frames that say much or little, among them one tile by tile with the integers of another."""
    maker = spatial_stream(150, 135)
    for number, (qp, lanes) in enumerate(((0, 1), (24, 2), (40, 8), (63, 4))):
        header = whole_header(number, qp=qp, lanes=lanes)
        drawn = drawn_frame(f"across {number}", 150, 135, header, one_in=40 - 10 * number)
        maker.add(number, maker.code(drawn, header))
        if number == 1:
            maker.add(number, maker.code(drawn, replace(header, across_tiles=False)))
    return maker.stream()


def _across_sizes() -> bytes:
    return _of_many_sizes("across", whole_header(qp=20), drawn_frame)


def _of_many_sizes(
    name: str, header: PacketHeader, draw: Callable[[str, int, int, PacketHeader], Integers]
) -> bytes:
    """Rungs of one tile, of one row and of one column of them, of a pixel and a little more."""
    maker = spatial_stream(64, 64)
    maker.sequence = replace(maker.sequence, rungs=len(_SIZES))
    for rung, (width, height) in enumerate(_SIZES):
        description = Description(maker.sequence.model_tag, Geometry(width, height))
        own = replace(header, layer=LayerId(rung), description=description)
        maker.add(0, maker.code(draw(f"{name} {width}x{height}", width, height, own), own))
    return maker.stream()


def _across_extremes() -> bytes:
    return _extreme_frames("across extremes", spatial_stream(100, 66), whole_header)


def _extreme_frames(
    name: str, maker: StreamMaker, header_of_frame: Callable[..., PacketHeader]
) -> bytes:
    """Frames whose symbols and ranks of modes go to the ends of what can be said."""
    for number, (qp, most) in enumerate(((63, 32767), (0, 32767), (40, 300))):
        header = header_of_frame(number, qp=qp, lanes=8)
        extreme = {"one_in": 4, "most": most, "rank_most": most}
        maker.add(number, spatial_packets(f"{name} {number}", maker, header, **extreme))
    return maker.stream()


def _across_delta() -> bytes:
    """Delta frames in slices, from frames that were predicted across their tiles."""
    maker = spatial_stream(130, 70, references=2)
    plan = [  # reference, store, one tile in so many at rest
        (None, state_id(0, 0), 0),
        (state_id(0, 0), state_id(1, 0), 2),
        (None, state_id(0, 1), 0),
        (state_id(0, 1), state_id(1, 1), 2),
        (state_id(1, 1), None, 0),
    ]
    for number, (reference, store, at_rest) in enumerate(plan):
        header = header_of(number, qp=18 + 4 * number)
        if reference is None:
            header = whole_header(number, qp=header.qp)
        header = replace(header, reference=reference, store=store)
        drawn = {"one_in": 25, "at_rest": at_rest}
        slices = 1 if header.spatial else 2
        maker.add(number, spatial_packets(f"across delta {number}", maker, header, slices, **drawn))
    return maker.stream()


def _linear() -> bytes:
    """All modes of chroma, tile by tile and across tiles, and a delta frame from that."""
    maker = spatial_stream(150, 135, references=1, model=LINEAR)
    for number, qp in enumerate((6, 24, 40)):
        for header in (spatial_header(number, qp=qp, lanes=2), whole_header(number, qp=qp)):
            header = replace(header, store=state_id(0, number % 16))
            drawn = {"one_in": 40 - 10 * number, "rank_most": 19}
            maker.add(
                number,
                spatial_packets(f"linear {number} {header.across_tiles}", maker, header, **drawn),
            )
    header = replace(header_of(3, qp=30), reference=state_id(0, 2))
    maker.add(3, spatial_packets("linear delta", maker, header, 2, one_in=25, at_rest=3))
    return maker.stream()


def _linear_extremes() -> bytes:
    return _extreme_frames("linear extremes", spatial_stream(100, 66, model=LINEAR), whole_header)


def copied_frame(seed: str, width: int, height: int, header: PacketHeader) -> Integers:
    """Draw a frame that is much the same here and there, and says to copy more than it may."""
    frame = drawn_frame(seed, width, height, header, one_in=30)
    dice = Dice(f"{seed} copies")
    rows, columns = frame.symbols.shape[1:]
    copies = np.zeros((rows, columns, QUARTERS, 2), np.int16)
    far = [
        (dice.integers(0, 40, 1).item(), dice.integers(-60, 60, 1).item()) for _ in range(12)
    ] + [(0, 32767), (32767, -32767), (0, -16), (16, 0)]
    which = dice.integers(0, 2 * len(far), rows, columns, QUARTERS)
    for place in np.argwhere(which < len(far)):
        copies[tuple(place)] = far[int(which[tuple(place)])]
    return replace(frame, copies=copies.reshape(rows, columns, 2 * QUARTERS))


def _copied() -> bytes:
    """Parts that are copies, of frames of many shapes, and a delta frame from the last."""
    maker = spatial_stream(150, 135, references=1, model=LINEAR)
    for number, (qp, lanes) in enumerate(((6, 1), (24, 2), (40, 8))):
        header = replace(whole_header(number, qp=qp, lanes=lanes), has_copies=True)
        header = replace(header, store=state_id(0, number))
        maker.add(number, maker.code(copied_frame(f"copied {number}", 150, 135, header), header))
    header = replace(header_of(3, qp=30), reference=state_id(0, 2))
    maker.add(3, spatial_packets("copied delta", maker, header, 2, one_in=25, at_rest=3))
    return maker.stream()


def _copied_sizes() -> bytes:
    return _of_many_sizes("copied", replace(whole_header(qp=20), has_copies=True), copied_frame)


SPATIAL_RECIPES = (
    Recipe("spatial_smallest", "one pixel, predicted from nothing (spec 9.6)", EXACT, _smallest),
    Recipe("spatial_modes", "all modes, finest to coarsest qp, 1 to 8 lanes (spec 7.3, 9.6)",
           EXACT, _modes),
    Recipe("spatial_slices", "slices of spatial frames, some missing (spec 4.2, 9.6)", EXACT,
           _slices),
    Recipe("spatial_extremes", "modes and latents as far out as they can be said (spec 9.3, 9.6)",
           EXACT, _extremes),
    Recipe("spatial_delta", "delta frames from spatial ones, refined (spec 9.2, 9.4, 9.5, 9.6)",
           EXACT, _delta),
    Recipe("across_tiles", "spatial frames across tiles, beside one tile by tile (spec 4.1, 9.6)",
           EXACT, _across_tiles),
    Recipe("across_sizes", "spatial frames across tiles, of many shapes (spec 4.3, 9.6)", EXACT,
           _across_sizes),
    Recipe("across_extremes", "modes and latents across tiles, as far out as they go (spec 9.6)",
           EXACT, _across_extremes),
    Recipe("across_delta", "delta frames from spatial ones across tiles (spec 9.2, 9.4, 9.6)",
           EXACT, _across_delta),
    Recipe("linear", "chroma as a line of luma, in tiles and across them (spec 9.1, 9.6)", LINEAR,
           _linear),
    Recipe("copied", "parts that are copies, and a delta frame from that (spec 4.8, 9.7)", LINEAR,
           _copied),
    Recipe("copied_sizes", "the same in frames of many shapes (spec 4.8, 9.7)", EXACT,
           _copied_sizes),
    Recipe("linear_extremes", "the same with latents as far out as they go (spec 9.6)", LINEAR,
           _linear_extremes),
)  # fmt: skip
