"""
Access units, or what is left of them, to planes.

    packets --> z --exact scale network--> indices --> symbols --engine.decode--> planes

A slice that is missing or damaged costs its own tiles, which become zeros, and nothing else.
Bytes from outside end in a picture or a `BitstreamError`; nothing else. `unpack_frame` is the
integer half alone, for callers that batch the engine themselves.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.check import verify_packet
from rtcodec.bitstream.packet import Extension, Packet, PacketHeader
from rtcodec.bitstream.tiles import tile_indices
from rtcodec.codec.encoder import ParallelMap
from rtcodec.codec.reference import ReceiverReferences
from rtcodec.codec.tiling import to_coding_order, to_plane_order, z_to_plane_order
from rtcodec.engine.api import DecodeJob, Engine
from rtcodec.entropy.cdf import EntropyTables
from rtcodec.entropy.native import SliceDecoder
from rtcodec.errors import BitstreamError, Corrupt, Truncated, Unsupported
from rtcodec.types import Planes, tile_grid

ScaleIndices = Callable[[NDArray[np.int8], int], NDArray[np.uint8]]
"`Engine.scale_indices`, or that of a `ScaleNet`: z int8 [Cz, Th, Tw], qp -> uint8 [M, 4 Th, 4 Tw]."

_SAME_IN_A_FRAME = ("frame_number", "qp", "keyframe", "reference", "store", "layer")


@dataclass(frozen=True, slots=True, eq=False)
class UnpackedFrame:
    """The integers of a frame, with zeros where tiles are missing."""

    header: PacketHeader
    "Of the first good slice."

    z: NDArray[np.int8]
    "int8 [Cz, Th, Tw]."

    symbols: NDArray[np.int16]
    "int16 [M, 4 Th, 4 Tw]."

    present: NDArray[np.bool_]
    "Which tiles were decoded, bool [Th, Tw]."

    damage: tuple[BitstreamError, ...]
    "Why slices were left out; offsets count from the start of the slice's payload."

    @property
    def complete(self) -> bool:
        """Whether every tile was decoded."""
        return bool(self.present.all())


def unpack_frame(
    packets: Iterable[Packet | Extension],
    *,
    tables: EntropyTables,
    scale_indices: ScaleIndices,
    width: int,
    height: int,
    parallel_map: ParallelMap = map,
) -> UnpackedFrame:
    """
    Decode the symbols of whatever packets of one frame there are, in any order.

    Args:
        packets: Of one frame and rung; extensions are skipped.
        tables: Of the stream's model.
        scale_indices: Of the stream's model.
        width: Of the frame, in pixels.
        height: Of the frame, in pixels.
        parallel_map: Runs the entropy coder on several packets.

    Raises:
        BitstreamError: If not one slice could be decoded.
    """
    rows, columns = tile_grid(width, height)
    slices: list[_Slice] = []
    damage: list[BitstreamError] = []
    present = np.zeros(rows * columns, np.bool_)
    for packet in packets:
        if isinstance(packet, Extension):
            continue
        try:
            opened = _open_slice(packet, tables, width, height)
            _check_fits(opened, slices, present)
        except BitstreamError as error:
            damage.append(error)
            continue
        present[opened.tiles] = True
        slices.append(opened)
    if not slices:
        raise damage[0] if damage else Truncated("no slice of the frame is here", offset=0)

    qp = slices[0].packet.header.qp
    z = np.zeros((rows * columns, tables.hyper_channels), np.int8)
    for opened in slices:
        z[opened.tiles] = opened.z
    z_planes = z_to_plane_order(z, rows, columns)
    indices = to_coding_order(scale_indices(z_planes, qp))
    symbols = np.zeros(indices.shape, np.int16)

    def read(opened: _Slice) -> BitstreamError | None:
        return _read_symbols(opened, indices, symbols)

    for opened, problem in zip(slices, list(parallel_map(read, slices)), strict=True):
        if problem is not None:
            damage.append(problem)
            present[opened.tiles] = False
            z_planes.reshape(z.shape[1], -1)[:, opened.tiles] = 0
    if not present.any():
        raise damage[0]
    return UnpackedFrame(
        header=slices[0].packet.header,
        z=z_planes,
        symbols=to_plane_order(symbols, rows, columns),
        present=present.reshape(rows, columns),
        damage=tuple(damage),
    )


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrame:
    """One picture, and how much of it came through."""

    planes: Planes
    frame: UnpackedFrame


class FrameDecoder:
    """One stream at one rate: packets in, planes out, frame by frame."""

    def __init__(
        self,
        engine: Engine,
        tables: EntropyTables,
        width: int,
        height: int,
        *,
        references: int = 0,
        parallel_map: ParallelMap = map,
    ) -> None:
        """
        Args:
            engine: Runs the stream's model.
            tables: Of that model.
            width: Of every frame, in pixels.
            height: Of every frame, in pixels.
            references: States that the stream may ask for, 0 to 15.
            parallel_map: Runs the entropy coder on several packets of a frame.
        """
        self._engine = engine
        self._tables = tables
        self._size = (width, height)
        self._references = ReceiverReferences(references)
        self._map = parallel_map
        self._state = engine.open_state(width, height)

    def decode(self, packets: Sequence[Packet | Extension]) -> DecodedFrame:
        """
        Decode what there is of one frame; missing tiles are painted from zeros.

        Raises:
            BitstreamError: If not one slice could be decoded, or the frame needs a reference
                that is not held.
            EngineError: If the device failed.
        """
        return self.paint(self.unpack(packets))

    def unpack(self, packets: Sequence[Packet | Extension]) -> UnpackedFrame:
        """Read the symbols, the first half of `decode`."""
        width, height = self._size
        frame = unpack_frame(
            packets,
            tables=self._tables,
            scale_indices=self._engine.scale_indices,
            width=width,
            height=height,
            parallel_map=self._map,
        )
        header = frame.header
        if not self._references.has(header.reference):
            raise Unsupported(f"reference {header.reference} is not held", offset=0)
        if not self._references.accepts(header.store):
            raise Corrupt(f"the stream declared no reference {header.store}", offset=0)
        return frame

    def paint(self, frame: UnpackedFrame) -> DecodedFrame:
        """Run the engine, the second half of `decode`."""
        header = frame.header
        width, height = self._size
        job = DecodeJob(
            self._state,
            frame.z,
            frame.symbols,
            header.qp,
            width,
            height,
            reference=header.reference,
            store=header.store,
        )
        planes = self._engine.decode([job])[0]
        self._references.decoded(
            keyframe=header.keyframe, store=header.store, complete=frame.complete
        )
        return DecodedFrame(planes, frame)

    def close(self) -> None:
        """Let go of the engine's state."""
        self._engine.close_state(self._state)


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    """A slice whose hyper-latents are read."""

    packet: Packet
    tiles: NDArray[np.int64]  # [T]
    z: NDArray[np.int8]  # [T, Cz]
    decoder: SliceDecoder


def _open_slice(packet: Packet, tables: EntropyTables, width: int, height: int) -> _Slice:
    header = packet.header
    if header.description is not None:
        geometry = header.description.geometry
        if (geometry.width, geometry.height) != (width, height):
            raise Corrupt(
                f"a slice of {geometry.width}x{geometry.height} in {width}x{height}", offset=0
            )
    try:
        tiles = tile_indices(header.tiles, width, height)
    except ValueError as error:
        raise Corrupt(str(error), offset=0) from None
    decoder = SliceDecoder(tables, packet.payload, tiles.size, header.qp, header.lanes)
    return _Slice(packet, tiles, decoder.read_z(), decoder)


def _check_fits(opened: _Slice, slices: Sequence[_Slice], present: NDArray[np.bool_]) -> None:
    """Refuse a slice that contradicts the good ones before it."""
    if present[opened.tiles].any():
        raise Corrupt("a tile is coded twice", offset=0)
    for name in _SAME_IN_A_FRAME if slices else ():
        if getattr(slices[0].packet.header, name) != getattr(opened.packet.header, name):
            raise Corrupt(f"slices of one frame differ in {name}", offset=0)


def _read_symbols(
    opened: _Slice, indices: NDArray[np.uint8], symbols: NDArray[np.int16]
) -> BitstreamError | None:
    """Fill in the symbols of a slice, or say why not."""
    try:
        read = opened.decoder.read_y(indices[opened.tiles])
        verify_packet(opened.packet, opened.z, read)
    except BitstreamError as error:
        return error
    symbols[opened.tiles] = read
    return None
