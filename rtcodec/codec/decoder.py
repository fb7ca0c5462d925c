"""
Access units, or what is left of them, to planes.

    packets --> z --exact scale network--> indices --> symbols --engine.decode--> planes

A slice that is missing or damaged costs its own tiles, which become zeros, and nothing else.
Bytes from outside end in a picture or a `BitstreamError`; nothing else. `unpack_frame` is the
integer half alone, for callers that batch the engine themselves.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.check import verify_packet
from rtcodec.bitstream.copied import read_copied
from rtcodec.bitstream.packet import Extension, Packet, PacketHeader, state_slot
from rtcodec.bitstream.still import read_still_map
from rtcodec.bitstream.tiles import tile_indices
from rtcodec.bundle import Bundle
from rtcodec.codec.encoder import ParallelMap
from rtcodec.codec.reference import ReceiverReferences
from rtcodec.codec.tile_qp import TileQp, TileQpHistory
from rtcodec.engine.api import DecodeJob, Engine
from rtcodec.entropy import native, native_tiles
from rtcodec.entropy.cdf import EntropyTables
from rtcodec.entropy.native import SliceDecoder
from rtcodec.entropy.scale_net import ScaleNet
from rtcodec.entropy.tile import empty_plane, scatter_hyper
from rtcodec.errors import BitstreamError, Corrupt, Truncated, Unsupported
from rtcodec.motion.vectors import conceal_motion
from rtcodec.types import COPY_CHANNELS, Planes, tile_grid

_GROUP_TILES = 32
"The scale network takes tiles by the dozen; a slice of a packet's size has a handful."

_SAME_IN_A_FRAME = (
    "frame_number", "qp", "keyframe", "reference", "store", "layer", "spatial", "across_tiles",
    "has_copies",
)  # fmt: skip
_what_they_share = attrgetter(*_SAME_IN_A_FRAME)


@dataclass(frozen=True, slots=True, eq=False)
class UnpackedFrame:
    """The integers of a frame, with zeros where tiles are missing."""

    header: PacketHeader
    "Of the first good slice."

    z: NDArray[np.int8]
    "int8 [Cz, Th, Tw]."

    symbols: NDArray[np.int16]
    "int16 [M, 4 Th, 4 Tw]; eight channels more where the frame has copies."

    present: NDArray[np.bool_]
    "Which tiles were decoded, bool [Th, Tw]."

    coded: NDArray[np.bool_]
    "Of which of those something is said: all but tiles at rest of delta frames, bool [Th, Tw]."

    damage: tuple[BitstreamError, ...]
    "Why slices were left out; offsets count from where the slice's entropy coded part starts."

    @property
    def complete(self) -> bool:
        """Whether every tile was decoded."""
        return bool(self.present.all())


def unpack_frame(
    packets: Iterable[Packet | Extension],
    *,
    tables: EntropyTables,
    net: ScaleNet,
    width: int,
    height: int,
    delta: Bundle | None = None,
    spatial: Bundle | None = None,
    parallel_map: ParallelMap = map,
) -> UnpackedFrame:
    """
    Decode the symbols of whatever packets of one frame there are, in any order.

    Args:
        packets: Of one frame and rung; extensions are skipped.
        tables: Of the stream's model.
        net: Scale network of the stream's model.
        width: Of the frame, in pixels.
        height: Of the frame, in pixels.
        delta: What the model has for delta frames, if anything.
        spatial: What it has for frames predicted from themselves, if anything.
        parallel_map: Runs the entropy coder on several packets.

    Raises:
        BitstreamError: If not one slice could be decoded.
    """
    delta_tables = tables if delta is None else delta.entropy_tables
    spatial_tables = None if spatial is None else spatial.entropy_tables
    rows, columns = tile_grid(width, height)
    slices: list[_Slice] = []
    damage: list[BitstreamError] = []
    present = np.zeros(rows * columns, np.bool_)
    for packet in packets:
        if isinstance(packet, Extension):
            continue
        try:
            is_delta = delta is not None and packet.header.reference is not None
            chosen = (
                spatial_tables if packet.header.spatial else delta_tables if is_delta else tables
            )
            if chosen is None:
                raise Unsupported("the model predicts no frame from itself", offset=0)
            opened = _open_slice(packet, chosen, width, height, has_map=is_delta)
            _check_fits(opened, slices, present)
        except BitstreamError as error:
            damage.append(error.with_traceback(None))
            continue
        present[opened.tiles] = True
        slices.append(opened)
    if not slices:
        damage.append(Truncated("no slice of the frame is here", offset=0))
        _raise_first(damage)

    header = slices[0].packet.header
    if header.spatial:
        assert spatial is not None
        tables, net = spatial.entropy_tables, spatial.scale_net
    elif header.reference is not None and delta is not None:
        tables, net = delta.entropy_tables, delta.scale_net
    qp = header.qp
    counts = [each.coded.size for each in slices]
    coded = np.empty((sum(counts), net.latent_channels, 16), np.int16)
    rows_of = np.split(coded, np.cumsum(counts[:-1]))

    def read(group: list[int]) -> list[BitstreamError | None]:
        """Read slices by number into their rows of *coded*."""
        indices = native_tiles.tile_indices(net, np.concatenate([slices[n].z for n in group]), qp)
        parts = np.split(indices, np.cumsum([counts[n] for n in group[:-1]]))
        return [
            _read_symbols(slices[n], part, rows_of[n]) for n, part in zip(group, parts, strict=True)
        ]

    errors = list(chain.from_iterable(parallel_map(read, _groups(counts))))
    good = [n for n, error in enumerate(errors) if error is None]
    for opened, wrong in zip(slices, errors, strict=True):
        if wrong is not None:
            damage.append(wrong)
            present[opened.tiles] = False
    if not good:
        del errors, wrong
        _raise_first(damage)

    tiles = np.concatenate([slices[n].coded for n in good]).astype(np.uint32)
    z = np.zeros((tables.hyper_channels, rows, columns), np.int8)
    scatter_hyper(np.concatenate([slices[n].z for n in good]), tiles, z)
    copies = slices[good[0]].copies
    n_channels = net.latent_channels + (0 if copies is None else COPY_CHANNELS)
    symbols = empty_plane(n_channels, 4 * rows, 4 * columns, np.int16)
    if copies is not None:
        symbols[-COPY_CHANNELS:] = copies.transpose(2, 0, 1)
    if len(tiles) < rows * columns:
        symbols[...] = 0
    if len(good) < len(slices):
        coded = np.concatenate([rows_of[n] for n in good])
    native_tiles.scatter_tiles(coded, tiles, symbols[: net.latent_channels])
    said = np.zeros(rows * columns, np.bool_)
    said[tiles] = True
    return UnpackedFrame(
        header=header,
        z=z,
        symbols=symbols,
        present=present.reshape(rows, columns),
        coded=said.reshape(rows, columns),
        damage=tuple(damage),
    )


def _raise_first(damage: list[BitstreamError]) -> NoReturn:
    try:
        raise damage[0]
    finally:
        damage.clear()  # of the frame that raises; see `calm.calm_interpreter`


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrame:
    """One picture, and how much of it came through."""

    planes: Planes
    frame: UnpackedFrame

    qps: TileQp
    "At which qp each of its tiles was last coded."

    trusted: bool = True
    """Whether all that it was predicted from is what the sender had. If not, errors of earlier
    frames may show anywhere, until a frame comes that is predicted from a trusted one or none."""

    @property
    def whole(self) -> bool:
        """Whether the picture is the sender's: nothing is missing, in it or behind it."""
        return self.trusted and self.frame.complete


class FrameDecoder:
    """One stream at one rate: packets in, planes out, frame by frame."""

    def __init__(
        self,
        engine: Engine,
        bundle: Bundle,
        width: int,
        height: int,
        *,
        references: int = 0,
        parallel_map: ParallelMap = map,
    ) -> None:
        """
        Args:
            engine: Runs the stream's model.
            bundle: That model.
            width: Of every frame, in pixels.
            height: Of every frame, in pixels.
            references: States that the stream may ask for, 0 to 15.
            parallel_map: Runs the entropy coder on several packets of a frame.
        """
        self._engine = engine
        self._tables, self._net = bundle.entropy_tables, bundle.scale_net
        self._delta, self._spatial = bundle.delta, bundle.spatial
        self._size = (width, height)
        self._references = ReceiverReferences(references)
        self._qps = TileQpHistory()
        self._map = parallel_map
        self._state = engine.open_state(width, height)

    def decode(self, packets: Sequence[Packet | Extension]) -> DecodedFrame:
        """
        Decode what there is of one frame.

        Missing tiles are painted from zeros; those of a delta frame from its reference, with the
        motion of their neighbours. A reference that is not held is replaced by the newest picture
        there is, and the frame is not `trusted`.

        Raises:
            BitstreamError: If not one slice could be decoded, or the frame needs a reference
                and there is no picture at all.
            EngineError: If the device failed.
        """
        return self.paint(self.unpack(packets))

    def unpack(self, packets: Sequence[Packet | Extension]) -> UnpackedFrame:
        """Read the symbols, the first half of `decode`."""
        width, height = self._size
        frame = unpack_frame(
            packets,
            tables=self._tables,
            net=self._net,
            width=width,
            height=height,
            delta=self._delta,
            spatial=self._spatial,
            parallel_map=self._map,
        )
        header = frame.header
        if not self._references.accepts(header.store):
            raise Corrupt(f"the stream declared no reference {header.store}", offset=0)
        if header.reference is not None and self._slot_of(header.reference) is None:
            raise Unsupported(
                f"reference {header.reference} is not held",
                offset=0,
                unheld_frame=header.frame_number,
            )
        return frame

    def paint(self, frame: UnpackedFrame) -> DecodedFrame:
        """Run the engine, the second half of `decode`."""
        header = frame.header
        width, height = self._size
        keeps = self._engine.info.references > 0
        trusted = self._references.has(header.reference)
        if self._delta is not None and header.reference is not None and not frame.complete:
            motion = frame.symbols[-self._delta.dims["motion"] :]
            conceal_motion(motion.transpose(1, 2, 0), frame.present)
        reference = self._slot_of(header.reference)
        store = None if header.store is None else state_slot(header.store)
        job = DecodeJob(
            self._state,
            frame.z,
            frame.symbols,
            header.qp,
            width,
            height,
            reference=reference,
            store=store,
            spatial=header.spatial,
            across_tiles=header.across_tiles,
        )
        planes = self._engine.decode([job])[0]
        qps = self._qps.decoded(
            header.qp, frame.coded, reference=reference, store=store if keeps else None
        )
        self._references.decoded(
            keyframe=header.keyframe,
            store=header.store if keeps else None,
            complete=frame.complete and trusted,
        )
        return DecodedFrame(planes, frame, qps, trusted)

    def _slot_of(self, reference: int | None) -> int | None:
        """Return the slot to predict from: that of the reference, or the newest for want of it."""
        return None if reference is None else self._references.nearest(reference)

    def close(self) -> None:
        """Let go of the engine's state."""
        self._engine.close_state(self._state)


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    """A slice whose hyper-latents are read."""

    packet: Packet
    tiles: NDArray[np.int64]  # [T], all that it brings
    coded: NDArray[np.int64]  # [K], those of which anything is said
    front: bytes  # what comes before z
    copies: NDArray[np.int16] | None  # [4 Th, 4 Tw, 8]
    z: NDArray[np.int8]  # [K, Cz]
    decoder: SliceDecoder | None  # None where nothing is coded


def _open_slice(
    packet: Packet, tables: EntropyTables, width: int, height: int, *, has_map: bool
) -> _Slice:
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
    coded, payload = tiles, packet.payload
    if has_map:
        there, payload = read_still_map(packet.payload, tiles.size)
        coded = tiles[there]
    copies = None
    if header.has_copies:
        rows, columns = tile_grid(width, height)
        said, payload = read_copied(packet.payload)
        copies = native.read_copies(said, 4 * rows, 4 * columns)
    front = packet.payload[: len(packet.payload) - len(payload)]
    if not coded.size:
        z = np.zeros((0, tables.hyper_channels), np.int8)
        return _Slice(packet, tiles, coded, front, copies, z, None)
    decoder = SliceDecoder(tables, payload, coded.size, header.qp, header.lanes)
    return _Slice(packet, tiles, coded, front, copies, decoder.read_z(), decoder)


def _check_fits(opened: _Slice, slices: Sequence[_Slice], present: NDArray[np.bool_]) -> None:
    """Refuse a slice that contradicts the good ones before it."""
    if present[opened.tiles].any():
        raise Corrupt("a tile is coded twice", offset=0)
    if not slices:
        return
    theirs, ours = _what_they_share(slices[0].packet.header), _what_they_share(opened.packet.header)
    if theirs != ours:
        names = [n for n, a, b in zip(_SAME_IN_A_FRAME, theirs, ours, strict=True) if a != b]
        raise Corrupt(f"slices of one frame differ in {names[0]}", offset=0)


def _groups(counts: Iterable[int]) -> Iterator[list[int]]:
    """Give out the numbers of slices in groups of _GROUP_TILES tiles or a little more."""
    group: list[int] = []
    tiles = 0
    for number, count in enumerate(counts):
        group.append(number)
        tiles += count
        if tiles >= _GROUP_TILES:
            yield group
            group, tiles = [], 0
    if group:
        yield group


def _read_symbols(
    opened: _Slice, indices: NDArray[np.uint8], out: NDArray[np.int16]
) -> BitstreamError | None:
    """Read and check the symbols of a slice into *out* [T, M, 16]; return what is wrong."""
    try:
        if opened.decoder is not None:
            opened.decoder.read_y(indices, out)
        verify_packet(opened.packet, opened.z, out, opened.front)
    except BitstreamError as error:
        return error
    return None
