"""
How each valid vector is made, from arithmetic alone.

The integers come from `Dice` or from block means of a drawn picture; nothing
depends on a random number generator's version. The bytes come from the C coder,
and the reference decodes them when vectors are checked. `neural.py` adds what
depends on trained weights.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.access_unit import AccessUnit
from rtcodec.bitstream.check import seal_packet
from rtcodec.bitstream.copied import write_copied
from rtcodec.bitstream.file import RtcWriter
from rtcodec.bitstream.packet import (
    TYPE_LOSSLESS_TAIL,
    Description,
    Extension,
    Geometry,
    Packet,
    PacketHeader,
    state_id,
)
from rtcodec.bitstream.sequence import MODEL_ID_BYTES, ColorRange, SequenceHeader
from rtcodec.bitstream.still import write_still_map
from rtcodec.bitstream.tiles import TileRange, split_tiles, tile_indices
from rtcodec.bundle import Bundle
from rtcodec.codec.encoder import coded_tiles
from rtcodec.conformance.dice import Dice
from rtcodec.conformance.model import (
    NULL,
    RANDOM,
    RANDOM_CHANNELS,
    RANDOM_HYPER_CHANNELS,
    part_of,
    random_bundle,
)
from rtcodec.engine.api import EncodeJob
from rtcodec.engine.null import NullEngine
from rtcodec.entropy.native import encode_slice, write_copies
from rtcodec.entropy.tile import gather_hyper, gather_tiles
from rtcodec.types import LayerId, Planes, tile_grid

Runs = Sequence[TileRange | None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make one vector."""

    name: str
    "Folder, such as `smallest`."

    about: str
    "What it exercises, with the section of the spec."

    model: str
    "`null`, `random` or an installed model."

    make: Callable[[], bytes]
    "Makes the stream."


@dataclass(frozen=True, slots=True, eq=False)
class Integers:
    """A frame before the entropy coder."""

    z: NDArray[np.int8]
    "int8 [Cz, Th, Tw]."

    symbols: NDArray[np.int16]
    "int16 [M, 4 Th, 4 Tw]."

    indices: NDArray[np.uint8]
    "uint8 [M, 4 Th, 4 Tw]."

    copies: NDArray[np.int16] | None = None
    "int16 [4 Th, 4 Tw, 8], of a frame that has some."


@dataclass
class StreamMaker:
    """Puts frames of one model together to a stream."""

    model: Bundle
    sequence: SequenceHeader
    units: list[AccessUnit] = field(default_factory=list)

    def code(
        self, frame: Integers, header: PacketHeader, runs: Runs = (None,)
    ) -> tuple[Packet, ...]:
        """Code one frame as one packet for each run; the last one is marked."""
        description = header.description
        geometry = description.geometry if description else self.sequence.geometry
        packets = []
        part = part_of(self.model, header)
        assert part is not None
        for number, run in enumerate(runs):
            tiles = tile_indices(run, geometry.width, geometry.height).astype(np.uint32)
            front = b""
            if frame.copies is not None:
                front = write_copied(write_copies(frame.copies))
            if part is self.model.delta:
                coded = coded_tiles(frame.symbols)[tiles]
                tiles, front = tiles[coded], write_still_map(coded)
            z, symbols = gather_hyper(frame.z, tiles), gather_tiles(frame.symbols, tiles)
            indices = gather_tiles(frame.indices, tiles)
            tables, payload = part.entropy_tables, front
            if tiles.size:
                payload += encode_slice(tables, z, symbols, indices, header.qp, header.lanes)
            own = replace(header, tiles=run, last=number == len(runs) - 1)
            packets.append(seal_packet(own, payload, z, symbols, front))
        return tuple(packets)

    def add(self, pts: int, packets: Iterable[Packet | Extension]) -> None:
        """Add an access unit."""
        self.units.append(AccessUnit(pts, tuple(packets)))

    def stream(self) -> bytes:
        """Return the whole stream."""
        out = io.BytesIO()
        with RtcWriter(out, self.sequence) as writer:
            for unit in self.units:
                writer.write(unit)
        return out.getvalue()


@lru_cache(maxsize=1)
def _null_engine() -> NullEngine:
    return NullEngine()


def null_model() -> Bundle:
    """Return the block means' model."""
    return _null_engine().bundle


@lru_cache(maxsize=1)
def random_model() -> Bundle:
    """Return the random tables' model."""
    return random_bundle()


def sequence_of(model: Bundle, width: int, height: int) -> SequenceHeader:
    """Return the header of a plain stream of 30 frames per second."""
    return SequenceHeader(
        model_id=model.model_id[:MODEL_ID_BYTES],
        geometry=Geometry(width, height),
        time_base=Fraction(1, 30),
        frame_rate=Fraction(30),
    )


def header_of(number: int = 0, *, qp: int = 24, lanes: int = 1) -> PacketHeader:
    """Return the header of a frame; number 0 is a keyframe."""
    return PacketHeader(frame_number=number, qp=qp, keyframe=number == 0, last=True, lanes=lanes)


def picture(width: int, height: int, number: int = 0) -> Planes:
    """Draw a slanted wave with a moving square, by integers alone."""
    rows, columns = np.mgrid[:height, :width]
    luma = 16 + (rows * 5 + columns * 3 + number * 11) % 220
    square = (np.abs(rows - height // 2) < 20) & (np.abs(columns - 30 - 8 * number) < 20)
    luma = np.where(square, 235 - (rows * columns) % 60, luma)
    half = (slice(None, None, 2), slice(None, None, 2))
    u = 64 + (rows[half] * 2 + number * 7) % 128
    v = 64 + (columns[half] * 2) % 128
    return Planes(luma.astype(np.uint8), u.astype(np.uint8), v.astype(np.uint8))


def null_frame(width: int, height: int, number: int = 0, *, qp: int = 24) -> Integers:
    """Return the block means of `picture`."""
    return block_means(picture(width, height, number), qp)


def block_means(planes: Planes, qp: int) -> Integers:
    """Return what the null engine makes of a picture."""
    engine = _null_engine()
    state = engine.open_state(planes.width, planes.height)
    output = engine.encode([EncodeJob(state, planes, qp)])[0]
    engine.close_state(state)
    return Integers(output.z, output.symbols, output.indices)


def random_frame(
    seed: str, width: int, height: int, *, qp: int, z_max: int = 15, escapes: int = 50
) -> Integers:
    """
    Draw integers for the random model.

    Args:
        seed: Of the dice.
        width: Of the frame, in pixels.
        height: Of the frame, in pixels.
        qp: Of the frame.
        z_max: Largest hyper-latent.
        escapes: One symbol in so many may be anything the format can hold.
    """
    dice = Dice(seed)
    rows, columns = tile_grid(width, height)
    z = dice.integers(-z_max, z_max, RANDOM_HYPER_CHANNELS, rows, columns).astype(np.int8)
    indices = random_model().scale_net.indices_reference(z, qp)
    shape = (RANDOM_CHANNELS, 4 * rows, 4 * columns)
    symbols = dice.integers(-100, 100, *shape) * indices // 300
    wild = dice.integers(1, escapes, *shape) == 1
    symbols = np.where(wild, dice.integers(-32767, 32767, *shape), symbols)
    return Integers(z, np.where(indices > 0, symbols, 0).astype(np.int16), indices)


def null_stream(width: int, height: int, frames: int = 1) -> StreamMaker:
    """Return a stream of *frames* frames, one packet each."""
    maker = StreamMaker(null_model(), sequence_of(null_model(), width, height))
    for number in range(frames):
        maker.add(number, maker.code(null_frame(width, height, number), header_of(number)))
    return maker


def _smallest() -> bytes:
    grey = np.full((1, 1), 128, np.uint8)
    maker = StreamMaker(null_model(), sequence_of(null_model(), 1, 1))
    maker.add(0, maker.code(block_means(Planes(grey, grey, grey), 24), header_of()))
    return maker.stream()


def _every_qp() -> bytes:
    maker = StreamMaker(random_model(), sequence_of(random_model(), 64, 64))
    for qp in range(64):
        frame = random_frame(f"every qp {qp}", 64, 64, qp=qp)
        maker.add(qp, maker.code(frame, header_of(qp, qp=qp, lanes=1 << qp % 4)))
    return maker.stream()


def _lanes_and_qp() -> bytes:
    maker = StreamMaker(null_model(), sequence_of(null_model(), 130, 70))
    for number, (qp, lanes) in enumerate(((0, 1), (21, 2), (42, 4), (63, 8))):
        frame = null_frame(130, 70, number, qp=qp)
        maker.add(number, maker.code(frame, header_of(number, qp=qp, lanes=lanes)))
    return maker.stream()


def _sliced(dispersed: bool) -> bytes:
    maker = StreamMaker(null_model(), sequence_of(null_model(), 300, 200))
    for number, slices in enumerate((1, 3, 20)):
        runs = split_tiles(300, 200, slices, dispersed=dispersed)
        maker.add(number, maker.code(null_frame(300, 200, number), header_of(number), runs))
    return maker.stream()


def _missing_slices() -> bytes:
    maker = StreamMaker(null_model(), sequence_of(null_model(), 200, 130))
    runs = split_tiles(200, 130, 4, dispersed=True)
    for number, kept in enumerate(((0, 1, 2, 3), (0, 2, 3), (1, 2))):
        packets = maker.code(null_frame(200, 130, number), header_of(number), runs)
        maker.add(number, [packets[i] for i in kept])
    return maker.stream()


def _described() -> bytes:
    maker = StreamMaker(null_model(), sequence_of(null_model(), 130, 70))
    description = Description(maker.sequence.model_tag, maker.sequence.geometry)
    for number in range(2):
        header = replace(
            header_of(number), description=description, frame_number=(number + 65535) % 65536
        )
        frame = null_frame(130, 70, number)
        maker.add(number, maker.code(frame, header, split_tiles(130, 70, 2)))
    return maker.stream()


def _rungs() -> bytes:
    maker = StreamMaker(null_model(), replace(sequence_of(null_model(), 130, 70), rungs=3))
    small = Description(maker.sequence.model_tag, Geometry(65, 35))
    for number in range(2):
        base = header_of(number, qp=10)
        maker.add(number, maker.code(null_frame(130, 70, number, qp=10), base))
        coarse = replace(base, qp=50, layer=LayerId(1))
        maker.add(number, maker.code(null_frame(130, 70, number, qp=50), coarse))
        half = replace(base, layer=LayerId(2), description=small)
        maker.add(number, maker.code(null_frame(65, 35, number, qp=10), half))
    return maker.stream()


def _temporal_layers_and_references() -> bytes:
    maker = StreamMaker(null_model(), replace(sequence_of(null_model(), 64, 64), references=15))
    plan = [  # reference, store, temporal layer
        (None, state_id(0, 0), 0),
        (state_id(0, 0), None, 2),
        (state_id(0, 0), state_id(14, 15), 1),
        (state_id(14, 15), None, 2),
        (state_id(0, 0), state_id(0, 1), 0),
        (None, None, 15),
    ]
    for number, (reference, store, temporal) in enumerate(plan):
        header = replace(
            header_of(number), reference=reference, store=store, layer=LayerId(0, temporal)
        )
        maker.add(number, maker.code(null_frame(64, 64, number), header))
    return maker.stream()


def _extensions() -> bytes:
    deep = replace(sequence_of(null_model(), 130, 70), geometry=Geometry(130, 70, 12))
    maker = StreamMaker(null_model(), deep)
    frame = maker.code(null_frame(130, 70), header_of(), split_tiles(130, 70, 2))
    tail = Extension(TYPE_LOSSLESS_TAIL, bytes(range(200)))
    maker.add(0, [Extension(31, b""), frame[0], tail, Extension(2, b"\xff"), frame[1], tail])
    return maker.stream()


def _times_and_color() -> bytes:
    sequence = replace(
        sequence_of(null_model(), 17, 23),
        time_base=Fraction(1001, 4294967295),
        frame_rate=None,
        color_range=ColorRange.FULL,
        color_matrix=9,
        source_format="gray16le",
    )
    maker = StreamMaker(null_model(), sequence)
    for number, pts in enumerate((-(2**62), -1, 0, 63, 64, 2**62 - 1)):
        maker.add(pts, maker.code(null_frame(17, 23, number), header_of(number)))
    return maker.stream()


def _random_sliced() -> bytes:
    maker = StreamMaker(random_model(), sequence_of(random_model(), 256, 192))
    for number, lanes in enumerate((8, 4, 2, 1)):
        frame = random_frame(f"sliced {number}", 256, 192, qp=number * 21)
        runs = split_tiles(256, 192, 5, dispersed=number % 2 == 1)
        maker.add(number, maker.code(frame, header_of(number, qp=number * 21, lanes=lanes), runs))
    return maker.stream()


def _random_escapes() -> bytes:
    maker = StreamMaker(random_model(), sequence_of(random_model(), 128, 64))
    for number in range(2):
        frame = random_frame(f"escapes {number}", 128, 64, qp=40, escapes=1 + number)
        maker.add(number, maker.code(frame, header_of(number, qp=40, lanes=8)))
    return maker.stream()


def _random_calm() -> bytes:
    maker = StreamMaker(random_model(), sequence_of(random_model(), 128, 128))
    frame = random_frame("calm", 128, 128, qp=5, z_max=0, escapes=1 << 30)
    nothing = Integers(frame.z, np.zeros_like(frame.symbols), frame.indices)
    for number, each in enumerate((frame, nothing)):
        maker.add(number, maker.code(each, header_of(number, qp=5, lanes=8)))
    return maker.stream()


RECIPES = (
    Recipe("smallest", "one grey pixel, the shortest headers (spec 11)", NULL,
           _smallest),
    Recipe("no_units", "a stream that ends before its first frame (spec 6)", NULL,
           lambda: null_stream(64, 64, 0).stream()),
    Recipe("odd_size", "a frame that fills no tile, with odd sides (spec 2)", NULL,
           lambda: null_stream(17, 23, 2).stream()),
    Recipe("widest", "the widest frame, 256 tiles in one row (spec 2)", NULL,
           lambda: null_stream(16384, 3).stream()),
    Recipe("tallest", "the tallest frame, 256 tiles in one column (spec 2)", NULL,
           lambda: null_stream(2, 16384).stream()),
    Recipe("lanes_and_qp", "1, 2, 4 and 8 lanes, finest to coarsest qp (spec 4.2, 7)", NULL,
           _lanes_and_qp),
    Recipe("raster_slices", "1, 3 and 20 slices in raster order (spec 2.2)", NULL,
           lambda: _sliced(False)),
    Recipe("dispersed_slices", "1, 3 and 20 slices in dispersed order (spec 2.2)", NULL,
           lambda: _sliced(True)),
    Recipe("missing_slices", "frames of which slices are missing, the last one too (spec 4.2)",
           NULL, _missing_slices),
    Recipe("described", "packets as over RTP; frame numbers that wrap (spec 4.2)", NULL,
           _described),
    Recipe("three_rungs", "three rungs, one of another size (spec 4.3, 5)", NULL, _rungs),
    Recipe("references", "references, stores and temporal layers in headers (spec 4.3, 4.4)",
           NULL, _temporal_layers_and_references),
    Recipe("extensions", "lossless tails and unknown types, skipped; 12 bits (spec 3.1, 4.6)",
           NULL, _extensions),
    Recipe("times_and_color", "times of any sign and size, no frame rate, color (spec 3, 5)",
           NULL, _times_and_color),
    Recipe("random_every_qp", "random tables: one tile at each qp (spec 7, 8)", RANDOM,
           _every_qp),
    Recipe("random_slices", "random tables: slices in both orders, all lanes (spec 7, 8)",
           RANDOM, _random_sliced),
    Recipe("random_escapes", "random tables: escapes of any magnitude (spec 7)", RANDOM,
           _random_escapes),
    Recipe("random_calm", "random tables: no hyper-latents; then no symbols at all (spec 7)",
           RANDOM, _random_calm),
)  # fmt: skip
