"""
Planes to access units.

    planes --engine.encode--> z, symbols, indices --coding order--> tiles --runs--> packets
                                                       |               ^
                                                       +--tile costs---+

`pack_frame` is the integer half alone, for callers that batch the engine themselves. No clock, no
threads of its own: a parallel `map` may be given, and the entropy coder runs without the GIL.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.access_unit import AccessUnit
from rtcodec.bitstream.check import seal_packet
from rtcodec.bitstream.cursor import write_varint
from rtcodec.bitstream.packet import (
    Description,
    Packet,
    PacketHeader,
    header_bytes,
    state_slot,
)
from rtcodec.bitstream.still import write_still_map
from rtcodec.bitstream.tiles import TileRange, tile_indices
from rtcodec.codec.copied import split_copies
from rtcodec.codec.cost import TileCosts
from rtcodec.codec.reference import ReferenceChoice
from rtcodec.codec.slicing import Slicing, halves, lanes_for
from rtcodec.engine.api import EncodeJob, EncodeOutput, Engine
from rtcodec.entropy.cdf import EntropyTables
from rtcodec.entropy.native import SliceEncoder, context_indices
from rtcodec.entropy.native_tiles import gather_tiles
from rtcodec.entropy.tile import gather_hyper
from rtcodec.motion.said import Said
from rtcodec.types import LayerId, Planes

_BYTES_PER_SYMBOL = 0.9  # of those that are not 0, the zeros between them included

_SIZE_FIELD_BYTES = 3  # a packet's size takes up to this much more than that of an empty one


class ParallelMap(Protocol):
    """`map`, or that of a pool: calls *function* on each item, results in order."""

    def __call__(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        """Apply *function* to each of *items*."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameLabel:
    """What the packets of one frame say besides their tiles."""

    frame_number: int
    "Modulo 65536."

    qp: int
    "0 to 63, as the frame was encoded."

    keyframe: bool
    "Whether a decoder may start here."

    reference: int | None = None
    store: int | None = None
    layer: LayerId = field(default_factory=LayerId)

    description: Description | None = None
    "Model and size, put into every packet; over RTP always."


class FramePacker:
    """Turns the integers of frames into packets, for one model and one way of slicing."""

    def __init__(
        self,
        tables: EntropyTables,
        slicing: Slicing,
        *,
        delta_tables: EntropyTables | None = None,
        spatial_tables: EntropyTables | None = None,
        parallel_map: ParallelMap = map,
    ) -> None:
        """
        Args:
            tables: Of the model.
            slicing: How to cut frames.
            delta_tables: Those of the model's delta frames, if it has any.
            spatial_tables: Those of its frames predicted from themselves, if it has any.
            parallel_map: Runs the entropy coder on several packets of a frame.
        """
        self.slicing = slicing
        self._intra = (tables, TileCosts(tables))
        self._delta = None if delta_tables is None else (delta_tables, TileCosts(delta_tables))
        self._spatial = (
            None if spatial_tables is None else (spatial_tables, TileCosts(spatial_tables))
        )
        self._map = parallel_map

    def pack(
        self, output: EncodeOutput, label: FrameLabel, width: int, height: int
    ) -> tuple[Packet, ...]:
        """
        Entropy code one frame.

        Args:
            output: Of the engine.
            label: What the headers say.
            width: Of the frame, in pixels.
            height: Of the frame, in pixels.

        Returns:
            The frame's packets in increasing order of tiles, the last one marked.
        """
        reference = label.reference
        if self._delta is not None and not output.is_delta:
            reference = None  # the engine found a new scene
        header = PacketHeader(
            frame_number=label.frame_number,
            qp=label.qp,
            keyframe=label.keyframe,
            last=False,
            reference=reference,
            store=label.store,
            layer=label.layer,
            description=label.description,
            spatial=output.is_spatial,
            across_tiles=output.across_tiles,
            has_copies=output.has_copies,
        )
        front, output = split_copies(output)
        tables, costs = self._tables_of(header)
        has_map = self._delta is not None and tables is self._delta[0]
        coded = None
        if has_map:
            coded = coded_tiles(output.symbols) if output.coded is None else output.coded
        n_tiles = output.z[0].size
        tiles = _all_tiles(n_tiles) if coded is None else np.flatnonzero(coded).astype(np.uint32)
        symbols = gather_tiles(output.symbols, tiles)
        indices = context_indices(tables, gather_tiles(output.indices, tiles), symbols)
        z = gather_hyper(output.z, tiles)
        said = SliceEncoder(tables, z, symbols, indices, label.qp, moved=True)
        tile_bytes = self._tile_bytes(costs, said)
        if coded is not None:
            of_coded, tile_bytes = tile_bytes, np.full(n_tiles, 1 / 8)
            tile_bytes[tiles] += of_coded
        frame = _CodedFrame(said, header, tile_bytes, (width, height), coded, front)
        runs = self.slicing.plan(tile_bytes, width, height, frame.header_bytes)
        coder = self._coder(frame, runs)
        firsts = accumulate((frame.n_coded(run) for run in runs), initial=0)

        def encode(numbered: tuple[TileRange, int]) -> list[Packet]:
            run, first = numbered
            return self._encode_run(frame, run, coder, first)

        parts = self._map(encode, zip(runs, firsts, strict=False))
        return tuple(packet for part in parts for packet in part)

    def _tables_of(self, header: PacketHeader) -> tuple[EntropyTables, TileCosts]:
        if header.spatial:
            assert self._spatial is not None
            return self._spatial
        # A model without a part for delta frames codes them as it codes intra frames: spec 9.
        return self._intra if header.reference is None or self._delta is None else self._delta

    def _coder(self, frame: "_CodedFrame", runs: Sequence[TileRange]) -> SliceEncoder:
        """Return a coder of the tiles of *runs*, one run after the other."""
        if runs[0].count == len(frame.tile_bytes):  # a run of all tiles takes them as they are
            return frame.said
        rows = np.concatenate([frame.rows(run) for run in runs])
        in_order = np.array_equal(rows, np.arange(len(frame.said)))
        return frame.said if in_order else frame.said.picked(rows)

    def _tile_bytes(self, costs: TileCosts, said: SliceEncoder) -> NDArray[np.float64]:
        """Return what each tile costs; roughly, where only the number of lanes depends on it."""
        if self.slicing.target_bytes is None:
            _, symbols = said.coded(0, len(said))
            rough: NDArray[np.float64] = np.count_nonzero(symbols, axis=(1, 2)) * _BYTES_PER_SYMBOL
            return rough
        return costs.bits_of(said) / 8

    def _encode_run(
        self, frame: "_CodedFrame", run: TileRange, coder: SliceEncoder, first: int
    ) -> list[Packet]:
        """
        Return the packet of a run of tiles, or those of its halves if it came out too large.

        Args:
            frame: The frame.
            run: Which of its tiles.
            coder: Has them, in coding order.
            first: Where they begin in *coder*.
        """
        tiles, count = tile_indices(run, *frame.size), frame.n_coded(run)
        lanes = lanes_for(float(frame.tile_bytes[tiles].sum())) if count else 1
        front = frame.front if frame.coded is None else write_still_map(frame.coded[tiles])
        payload = front + (coder.encode(first, count, lanes) if count else b"")
        if self.slicing.too_large(frame.header_bytes + len(payload), run):
            parts = halves(run)  # their tiles need not follow each other in the run's order
            return [
                p
                for half in parts
                for p in self._encode_run(frame, half, self._coder(frame, [half]), 0)
            ]
        n_tiles = len(frame.tile_bytes)
        header = replace(
            frame.header,
            tiles=None if run.count == n_tiles else run,
            lanes=lanes,
            last=run.end == n_tiles,
        )
        return [seal_packet(header, payload, *coder.coded(first, count), front)]


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One frame as bytes, and what it came from."""

    unit: AccessUnit
    output: EncodeOutput


class FrameEncoder:
    """One stream at one rate: planes in, access units out, frame by frame."""

    def __init__(
        self,
        engine: Engine,
        packer: FramePacker,
        width: int,
        height: int,
        *,
        description: Description | None = None,
        layer: LayerId | None = None,
        references: ReferenceChoice | None = None,
        neural: bool = True,
        thorough: bool = False,
    ) -> None:
        """
        Args:
            engine: Runs the model whose tables *packer* has.
            packer: Makes the packets.
            width: Of every frame, in pixels.
            height: Of every frame, in pixels.
            description: Put into every packet, or None.
            layer: Of the stream, the only one by default.
            references: Says what frames are predicted from; None for intra frames only.
            neural: Whether frames alone are always coded by the networks.
            thorough: Whether time matters less than bits: for files.
        """
        self._engine = engine
        self._packer = packer
        self._size = (width, height)
        self._description = description
        self._layer = layer or LayerId()
        self._references = references
        self.neural = neural
        "Whether frames alone are coded by the networks; may be set between frames."
        self._thorough = thorough
        self._state = engine.open_state(width, height)
        self._frame_number = 0

    def encode(
        self, planes: Planes, *, qp: int, pts: int, keyframe: bool, reconstruct: bool = False
    ) -> EncodedFrame:
        """
        Code one frame.

        Args:
            planes: Of the stream's size.
            qp: 0 (finest) to 63.
            pts: In ticks of the stream's time base.
            keyframe: Whether a decoder may start here; nothing before it is predicted from.
            reconstruct: Whether `output` holds the picture that a decoder will see.

        Raises:
            EngineError: If the device failed; the stream may go on.
        """
        output = self.run(planes, qp=qp, keyframe=keyframe, reconstruct=reconstruct)
        return self.pack(output, qp=qp, pts=pts, keyframe=keyframe)

    def run(
        self, planes: Planes, *, qp: int, keyframe: bool = False, reconstruct: bool = False
    ) -> EncodeOutput:
        """Run the engine alone, the first half of `encode`; may be repeated at another qp."""
        reference, store = self._choice(keyframe=keyframe)
        job = EncodeJob(
            self._state,
            planes,
            qp,
            reference=None if reference is None else state_slot(reference),
            store=None if store is None else state_slot(store),
            reconstruct=reconstruct,
            neural=self.neural,
            across_tiles=self._packer.slicing.keeps_whole,
            thorough=self._thorough,
        )
        return self._engine.encode([job])[0]

    def pack(self, output: EncodeOutput, *, qp: int, pts: int, keyframe: bool) -> EncodedFrame:
        """Make the access unit, the second half of `encode`; counts the frame."""
        reference, store = self._choice(keyframe=keyframe)
        label = FrameLabel(
            frame_number=self._frame_number,
            qp=qp,
            keyframe=keyframe,
            reference=reference,
            store=store,
            layer=self._layer,
            description=self._description,
        )
        packets = self._packer.pack(output, label, *self._size)
        if self._references is not None:
            if keyframe:
                self._references.forget()
            if store is not None:
                self._references.stored(store, self._frame_number)
        self._frame_number = (self._frame_number + 1) & 0xFFFF
        return EncodedFrame(AccessUnit(pts, packets), output)

    def is_delta(self, *, keyframe: bool) -> bool:
        """Whether the next frame will be predicted from another."""
        return self._choice(keyframe=keyframe)[0] is not None

    def _choice(self, *, keyframe: bool) -> tuple[int | None, int | None]:
        """Ids of the state to predict from and of the one to keep; the same until `pack`."""
        if self._references is None:
            return None, None
        reference = None if keyframe else self._references.choose()
        return reference, self._references.next_state()

    def close(self) -> None:
        """Let go of the engine's state."""
        self._engine.close_state(self._state)


def coded_tiles(symbols: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return of which tiles of *symbols* [M, 4 Th, 4 Tw] anything is said, [Th * Tw]."""
    return Said.of(np.ascontiguousarray(symbols.transpose(1, 2, 0))).count() > 0


@lru_cache(maxsize=64)
def _all_tiles(n_tiles: int) -> NDArray[np.uint32]:
    tiles = np.arange(n_tiles, dtype=np.uint32)
    tiles.flags.writeable = False
    return tiles


@dataclass(frozen=True)
class _CodedFrame:
    """The integers of a frame's coded tiles, and what its packets have in common."""

    said: SliceEncoder  # has all of them, by tile index
    header: PacketHeader
    tile_bytes: NDArray[np.float64]  # [Th * Tw]
    size: tuple[int, int]  # width, height in pixels
    coded: NDArray[np.bool_] | None  # [Th * Tw], which tiles are; None for all
    front: bytes  # of its one packet, where it has copies

    def rows(self, run: TileRange) -> NDArray[np.int64]:
        """Return where in the arrays those tiles of a run are of which anything is said."""
        tiles = tile_indices(run, *self.size)
        return tiles if self.coded is None else self._row_of[tiles[self.coded[tiles]]]

    def n_coded(self, run: TileRange) -> int:
        """Return how many there are."""
        return len(self.rows(run))

    @cached_property
    def _row_of(self) -> NDArray[np.int64]:
        assert self.coded is not None
        return np.cumsum(self.coded, dtype=np.int64) - 1

    @cached_property
    def header_bytes(self) -> int:
        """The most that the header of a packet takes."""
        n_tiles = len(self.tile_bytes)
        tiles = len(write_varint(n_tiles - 1)) + len(write_varint(0))  # the last alone
        return len(header_bytes(Packet(self.header, b""))) + tiles + _SIZE_FIELD_BYTES
