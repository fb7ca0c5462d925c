"""
What this decoder makes of a stream, as plain JSON values.

    bytes --RtcReader--> units --SliceDecoder--> z, symbols --engine--> pictures
             offsets              hashes, check word            hashes

Everything that a decoder must agree on is in the report; nothing else is.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtcodec.bitstream.access_unit import AccessUnit, frame_geometry
from rtcodec.bitstream.check import verify_packet
from rtcodec.bitstream.copied import read_copied
from rtcodec.bitstream.cursor import Field
from rtcodec.bitstream.file import RtcReader
from rtcodec.bitstream.packet import Packet, PacketHeader, state_slot
from rtcodec.bitstream.sequence import MAX_REFERENCES, SequenceHeader
from rtcodec.bitstream.still import read_still_map
from rtcodec.bitstream.tiles import tile_indices
from rtcodec.bundle import Bundle
from rtcodec.codec.reference import ReceiverReferences
from rtcodec.conformance.model import VectorModel, part_of
from rtcodec.engine.api import DecodeJob, StateId
from rtcodec.entropy import copies as plain_copies
from rtcodec.entropy import native, native_tiles, rans
from rtcodec.entropy.cdf import EntropyTables
from rtcodec.entropy.scale_net import ScaleNet
from rtcodec.entropy.tile import gather_tiles, scatter_hyper, scatter_tiles
from rtcodec.errors import BitstreamError, Unsupported
from rtcodec.types import Planes, tile_grid

Report = dict[str, Any]

_MODEL_ID_OFFSET = 5  # in the sequence header, # spec 3


class SliceReader(Protocol):
    """Either entropy decoder."""

    def read_z(self) -> NDArray[np.int8]:
        """Read hyper-latents, int8 [T, Cz]."""

    def read_y(self, indices: NDArray[np.uint8]) -> NDArray[np.int16]:
        """Read symbols, int16 [T, M, 16]."""


@dataclass(frozen=True, slots=True)
class Coder:
    """One of the two implementations of what must be exact."""

    open_slice: Callable[[EntropyTables, bytes, int, int, int], SliceReader]
    "Tables, payload, tiles, qp, lanes to a decoder."

    indices: Callable[[ScaleNet, NDArray[np.int8], int], NDArray[np.uint8]]
    "Scale indices uint8 [M, 4 Th, 4 Tw] of z int8 [Cz, Th, Tw] at a qp."

    copies: Callable[[bytes, int, int], NDArray[np.int16]]
    "Payload, rows and columns of blocks to copies int16 [rows, columns, 8]."


FAST = Coder(native.SliceDecoder, native_tiles.scale_indices, native.read_copies)
REFERENCE = Coder(
    rans.SliceDecoder, lambda net, z, qp: net.indices_reference(z, qp), plain_copies.read_copies
)


@dataclass(frozen=True, slots=True)
class Observation:
    """A stream as one decoder sees it."""

    report: Report
    "JSON values: sequence, units with their packets, error."

    pictures: list[Planes]
    "One for each unit, if the model paints."


def observe(data: bytes, model: VectorModel, *, coder: Coder = FAST) -> Observation:
    """
    Decode a stream as far as it goes.

    Args:
        data: A `.rtc`, whole or not, valid or not.
        model: The one that the stream should name.
        coder: Which implementation decodes the integers.
    """
    fields: list[Field] = []
    report: Report = {"size_bytes": len(data), "sequence": None, "units": [], "error": None}
    pictures: list[Planes] = []
    try:
        reader = RtcReader(io.BytesIO(data), fields=fields)
        report["sequence"] = _sequence(reader.sequence)
        if not model.bundle.model_id.startswith(reader.sequence.model_id):
            report["error"] = {"kind": "Unsupported", "offset": _MODEL_ID_OFFSET}
            return Observation(report, pictures)
        painter = _Painter(model)
        for unit in reader:
            frame = _Unit(unit, reader.sequence, model, coder, _offsets(fields), painter)
            fields.clear()
            report["units"].append(frame.report())
            if model.engine is not None:
                pictures.append(frame.picture())
    except BitstreamError as error:
        report["error"] = _error(error, 0)
    return Observation(report, pictures)


def planes_sha256(planes: Planes) -> str:
    """Return the hash of all samples: Y, U and V, row by row."""
    digest = hashlib.sha256()
    for plane in (planes.y, planes.u, planes.v):
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


class _Painter:
    """Paints the frames of a stream one after the other, each rung with its own references."""

    def __init__(self, model: VectorModel) -> None:
        self._model = model
        self._rungs: dict[tuple[int, int, int], tuple[StateId, ReceiverReferences]] = {}

    def paint(
        self,
        header: PacketHeader,
        size: tuple[int, int],
        z: NDArray[np.int8],
        symbols: NDArray[np.int16],
    ) -> Planes:
        """Return the picture of a frame's integers, and keep it if the header says so."""
        engine = self._model.engine
        assert engine is not None
        key = (header.layer.rung, *size)
        if key not in self._rungs:
            self._rungs[key] = (engine.open_state(*size), ReceiverReferences(MAX_REFERENCES))
        state, references = self._rungs[key]
        keeps = engine.info.references > 0
        store = header.store if keeps else None
        job = DecodeJob(
            state,
            z,
            symbols,
            header.qp,
            *size,
            reference=None
            if not keeps or header.reference is None
            else references.nearest(header.reference),
            store=None if store is None else state_slot(store),
            spatial=header.spatial,
            across_tiles=header.across_tiles,
        )
        planes = engine.decode([job])[0]
        references.decoded(keyframe=header.keyframe, store=store, complete=True)
        return planes


@dataclass
class _Unit:
    unit: AccessUnit
    sequence: SequenceHeader
    model: VectorModel
    coder: Coder
    offsets: dict[str, int]
    "Of the unit's fields, by name without the unit."
    painter: _Painter

    _part: Bundle | None = field(init=False)
    "What of the model the frame is coded with, if it has anything for it."
    _is_delta: bool = field(init=False)
    _seen: Planes | None = field(init=False, default=None)
    _z: NDArray[np.int8] = field(init=False)
    _symbols: NDArray[np.int16] = field(init=False)

    def __post_init__(self) -> None:
        geometry = frame_geometry(self.unit.header, self.sequence)
        self._size = (geometry.width, geometry.height)
        rows, columns = tile_grid(*self._size)
        delta = self.model.bundle.delta
        self._part = part_of(self.model.bundle, self.unit.header)
        self._is_delta = delta is not None and self._part is delta
        bundle = self._part or self.model.bundle
        self._z = np.zeros((bundle.hyper_channels, rows, columns), np.int8)
        self._symbols = np.zeros((bundle.latent_channels, 4 * rows, 4 * columns), np.int16)

    def report(self) -> Report:
        """Decode every packet and say what was in it."""
        header = self.unit.header
        packets = []
        for number, packet in enumerate(self.unit.packets):
            where: Report = {"offset": self.offsets[f"packet[{number}].version_type"]}
            if isinstance(packet, Packet):
                packets.append(where | self._slice(packet, number))
            else:
                digest = hashlib.sha256(packet.body).hexdigest()
                packets.append(where | {"type": packet.type, "body_sha256": digest})
        report: Report = {"offset": self.offsets["size"], "pts": self.unit.pts}
        report |= _frame(header) | {"packets": packets}
        if self.model.engine is not None and self.model.exact:
            report["pixels"] = {"sha256": planes_sha256(self.picture())}
        return report

    def picture(self) -> Planes:
        """Paint what was decoded, once."""
        if self._seen is None:
            self._seen = self.painter.paint(self.unit.header, self._size, self._z, self._symbols)
        return self._seen

    def _slice(self, packet: Packet, number: int) -> Report:
        header = packet.header
        tiles = tile_indices(header.tiles, *self._size).astype(np.uint32)
        run = header.tiles
        report: Report = {
            "type": header.type,
            "last": header.last,
            "lanes": header.lanes,
            "tiles": None if run is None else [run.first, run.count],
            "order": "dispersed" if run and run.dispersed else "raster",
            "check": f"{header.check:#06x}",
            "payload_bytes": len(packet.payload),
        }
        start = self.offsets[f"packet[{number}].version_type"]
        if self._part is None:
            return report | {"error": {"kind": Unsupported.__name__, "offset": start}}
        payload_offset = self.offsets[f"packet[{number}].payload"]
        payload, copies = packet.payload, None
        try:
            if header.has_copies:
                said, payload = read_copied(packet.payload)
                copies = self._copies_of(said, len(packet.payload) - len(payload) - len(said))
            if self._is_delta:
                coded, payload = read_still_map(packet.payload, tiles.size)
                tiles = tiles[coded]
                report["coded_tiles"] = int(tiles.size)
        except BitstreamError as error:
            return report | {"error": _error(error, payload_offset)}
        front = packet.payload[: len(packet.payload) - len(payload)]
        try:
            z, symbols = self._symbols_of(self._part, header, payload, tiles)
        except BitstreamError as error:
            return report | {"error": _error(error, payload_offset + len(front))}
        try:
            verify_packet(packet, z, symbols, front)
        except BitstreamError as error:
            return report | {"error": _error(error, start)}
        scatter_hyper(z, tiles, self._z)
        scatter_tiles(symbols, tiles, self._symbols)
        if copies is not None:
            self._symbols = np.concatenate((self._symbols, copies.transpose(2, 0, 1)))
        return report | {
            "z_sha256": hashlib.sha256(z.tobytes()).hexdigest(),
            "symbols_sha256": hashlib.sha256(symbols.astype("<i2").tobytes()).hexdigest(),
        }

    def _copies_of(self, said: bytes, offset: int) -> NDArray[np.int16]:
        rows, columns = self._symbols.shape[1:]
        try:
            return self.coder.copies(said, rows, columns)
        except BitstreamError as error:
            raise error.shifted(offset) from None

    def _symbols_of(
        self, part: Bundle, header: PacketHeader, payload: bytes, tiles: NDArray[np.uint32]
    ) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
        tables, net = part.entropy_tables, part.scale_net
        if not tiles.size:
            return (
                np.zeros((0, net.hyper_channels), np.int8),
                np.zeros((0, net.latent_channels, 16), np.int16),
            )
        reader = self.coder.open_slice(tables, payload, tiles.size, header.qp, header.lanes)
        z = reader.read_z()
        frame_z = np.zeros_like(self._z)
        scatter_hyper(z, tiles, frame_z)
        indices = gather_tiles(self.coder.indices(net, frame_z, header.qp), tiles)
        return z, reader.read_y(indices)


def _offsets(fields: list[Field]) -> dict[str, int]:
    """Return where the fields of the newest unit are, by name without the unit."""
    return {
        item.name.partition(".")[2]: item.offset for item in fields if item.name.startswith("unit[")
    }


def _sequence(sequence: SequenceHeader) -> Report:
    rate = sequence.frame_rate
    return {
        "model_id": sequence.model_id.hex(),
        "width": sequence.width,
        "height": sequence.height,
        "bit_depth": sequence.geometry.bit_depth,
        "time_base": str(sequence.time_base),
        "frame_rate": None if rate is None else str(rate),
        "pixel_format": sequence.pixel_format.name.lower(),
        "color_range": sequence.color_range.name.lower(),
        "color_matrix": sequence.color_matrix,
        "source_format": sequence.source_format,
        "rungs": sequence.rungs,
        "references": sequence.references,
    }


def _frame(header: PacketHeader) -> Report:
    """Say what all packets of a frame agree in."""
    description = header.description
    return {
        "frame_number": header.frame_number,
        "qp": header.qp,
        "keyframe": header.keyframe,
        "reference": header.reference,
        "store": header.store,
        "rung": header.layer.rung,
        "temporal": header.layer.temporal,
        "described": None
        if description is None
        else {
            "model_tag": f"{description.model_tag:#06x}",
            "width": description.geometry.width,
            "height": description.geometry.height,
            "bit_depth": description.geometry.bit_depth,
        },
    }


def _error(error: BitstreamError, origin: int) -> Report:
    return {"kind": type(error).__name__, "offset": error.offset + origin}
