"""
A second decoder, written from `rtcodec/bitstream/SPEC.md` alone.

Imports nothing of rtcodec: if a vector decodes here, the text says enough to
build a decoder from. Plain and slow; section numbers are those of the text.
"""

import hashlib
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from support import spec_copies, spec_spatial
from support.spec_contexts import Known, table_of
from support.spec_copies import Copies

Tensors = dict[str, Any]

SLICES = (0, 3, 4, 5)
"Section 4.1: types of packets that are slices."

SPATIAL = (3, 4, 5)
"Those of spatial frames; the others across tiles, the last one with copied parts."


class Fault(Exception):
    """One of the three errors, with its offset."""

    def __init__(self, kind: str, offset: int) -> None:
        super().__init__(f"{kind} at {offset}")
        self.kind, self.offset = kind, offset


@dataclass
class Bytes:
    """Section 1: a position in bytes, and what running out of them is."""

    data: bytes
    at: int
    end: int
    short: str = "Truncated"

    def take(self, size: int) -> bytes:
        if self.end - self.at < size:
            raise Fault(self.short, self.end)
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def varint(self, limit: int) -> int:
        """A number below *limit*."""
        start, value, shift = self.at, 0, 0
        while True:
            byte = self.number(1)
            value += (byte % 128) << shift
            shift += 7
            more = byte >= 128
            if value >= limit or (more and (1 << shift) >= limit):
                raise Fault("Corrupt", start)
            if not more:
                if byte == 0 and shift > 7:
                    raise Fault("Corrupt", start)
                return value

    def inner(self, size: int) -> "Bytes":
        start = self.at
        self.take(size)
        return Bytes(self.data, start, start + size, "Corrupt")


class Model:
    """Section 9: the integers of an `.rtcm` file."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        (size,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + size])
        kinds = {"I8": "b", "U8": "B", "I16": "h", "U16": "H", "I32": "i", "F32": "f"}
        names = {
            "I8": "int8", "I16": "int16", "U16": "uint16", "I32": "int32", "F32": "float32"
        }  # fmt: skip
        metadata = json.loads(header.pop("__metadata__")["rtcodec"])
        digest = hashlib.sha256(
            json.dumps({"dims": metadata["dims"], "format": 1}, sort_keys=True).encode()
        )
        self.tensors: Tensors = {}
        for name in sorted(header):
            entry = header[name]
            start, end = entry["data_offsets"]
            raw = content[8 + size + start : 8 + size + end]
            digest.update(f"\n{name} {names[entry['dtype']]} {entry['shape']}\n".encode())
            digest.update(raw)
            values = [value for (value,) in struct.iter_unpack("<" + kinds[entry["dtype"]], raw)]
            self.tensors[name] = shaped(values, entry["shape"])
        self.id = digest.digest()[:8]
        self.always_coded = metadata["dims"].get("motion", 0)
        self.from_luma = metadata["dims"].get("chroma_from_luma", 0) == 1
        self.delta, self.spatial = (
            self.part(kind, self.always_coded) for kind in ("delta.", "spatial.")
        )
        self.measure()

    def part(self, prefix: str, motion: int) -> "Part | None":
        n = len(prefix)
        own = {key[n:]: v for key, v in self.tensors.items() if key.startswith(prefix)}
        return Part(own, motion) if own else None

    def measure(self) -> None:
        self.channels = len(self.tensors["scale_net.w3"])
        self.hyper_channels = len(self.tensors["scale_net.w1"][0])

    def part_for(self, packet: dict[str, Any]) -> "Model":
        """Sections 4.1 and 9.1: what a frame is coded with."""
        if packet["type"] in SPATIAL:
            if self.spatial is None:
                raise Fault("Unsupported", packet["offset"])
            return self.spatial
        is_delta = packet["reference"] is not None and self.delta is not None
        return self.delta if is_delta and self.delta is not None else self

    def indices(self, z: list[int], qp: int) -> list[int]:
        """Section 8: the M x 4 x 4 scale indices of one tile."""
        t = self.tensors
        s1, s2, s3 = t["scale_net.shifts"]
        out = [0] * (self.channels * 16)
        a1 = layer(t["scale_net.w1"], z, t["scale_net.b1"][qp], s1, 255)
        for y1, x1 in ((0, 0), (0, 1), (1, 0), (1, 1)):
            quarter = a1[y1 * 2 + x1 :: 4]
            a2 = layer(t["scale_net.w2"], quarter, t["scale_net.b2"], s2, 255)
            for y2, x2 in ((0, 0), (0, 1), (1, 0), (1, 1)):
                fine = a2[y2 * 2 + x2 :: 4]
                b3 = [b << s3 for b in t["scale_net.b3"][qp]]
                position = (2 * y1 + y2) * 4 + 2 * x1 + x2
                out[position::16] = layer(t["scale_net.w3"], fine, b3, s3, 63)
        first = 16 * (self.channels - self.always_coded)
        return out[:first] + [max(1, index) for index in out[first:]]


class Part(Model):
    """Section 9.1: what a model has for delta or for spatial frames."""

    def __init__(self, tensors: Tensors, motion: int) -> None:
        self.tensors, self.always_coded = tensors, motion
        self.delta = self.spatial = None
        self.measure()


def shaped(values: list[int], shape: list[int]) -> Any:
    if len(shape) <= 1:
        return values
    step = len(values) // shape[0]
    return [shaped(values[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]


def layer(w: list[list[int]], a: list[int], b: list[int], shift: int, top: int) -> list[int]:
    half = (1 << shift) // 2
    return [
        max(0, min(top, (sum(x * y for x, y in zip(row, a, strict=True)) + bias + half) >> shift))
        for row, bias in zip(w, b, strict=True)
    ]


class Lanes:
    """Section 7: interleaved rANS."""

    def __init__(self, data: bytes, at: int, end: int, lanes: int) -> None:
        self.data, self.start, self.at, self.end = data, at, at, end
        if end - at < 4 * lanes:
            raise Fault("Truncated", end)
        self.states = []
        for lane in range(lanes):
            self.states.append(int.from_bytes(data[self.at : self.at + 4], "little"))
            if self.states[-1] < 1 << 16:
                raise Fault("Corrupt", at + 4 * lane)
            self.at += 4
        self.count = 0

    def symbol(self, cdf: list[int]) -> int:
        lane = self.count % len(self.states)
        self.count += 1
        slot = self.states[lane] % (1 << 14)
        s = next(s for s in range(len(cdf) - 1) if cdf[s] <= slot < cdf[s + 1])
        step = cdf[s + 1] - cdf[s]
        self.refill(lane, step * (self.states[lane] >> 14) + slot - cdf[s])
        return s

    def raw(self, bits: int) -> int:
        """In the lane of the symbol before."""
        lane = (self.count - 1) % len(self.states)
        state = self.states[lane]
        self.refill(lane, state >> bits)
        return state % (1 << bits)

    def refill(self, lane: int, state: int) -> None:
        if state < 1 << 16:
            if self.end - self.at < 2:
                raise Fault("Truncated", self.end)
            state = state * 65536 + int.from_bytes(self.data[self.at : self.at + 2], "little")
            self.at += 2
        self.states[lane] = state

    def finish(self) -> None:
        if self.at != self.end or any(state != 1 << 16 for state in self.states):
            raise Fault("Corrupt", self.at)


def decode(data: bytes, model: Model) -> dict[str, Any]:
    """Read a stream as far as it goes: units with their packets, and the error."""
    units: list[dict[str, Any]] = []
    cursor = Bytes(data, 0, len(data))
    try:
        sequence = read_sequence(cursor)
        if sequence["model_id"] != model.id:
            raise Fault("Unsupported", 5)
        while data[cursor.at : cursor.at + 1] != b"\x00":
            units.append(read_unit(cursor, sequence, model))
        cursor.take(1)
        crc_at = cursor.at
        if cursor.number(4) != zlib.crc32(data[:crc_at]):
            raise Fault("Corrupt", crc_at)
        if cursor.at != len(data):
            raise Fault("Corrupt", cursor.at)
    except Fault as fault:
        return {"units": units, "error": {"kind": fault.kind, "offset": fault.offset}}
    return {"units": units, "error": None}


def read_sequence(cursor: Bytes) -> dict[str, Any]:
    """Section 3."""
    for expected in b"\x89RTC":
        if cursor.number(1) != expected:
            raise Fault("Corrupt", cursor.at - 1)
    if cursor.number(1) != 1:
        raise Fault("Unsupported", cursor.at - 1)
    model_id = cursor.take(8)
    geometry = read_geometry(cursor)
    for optional in (False, True):
        start = cursor.at
        numerator = cursor.varint(1 << 32)
        if optional and numerator == 0:
            continue
        denominator = cursor.varint(1 << 32)
        if numerator == 0 or denominator == 0 or common(numerator, denominator) != 1:
            raise Fault("Corrupt", start)
    layout = cursor.number(1)
    if layout % 16:
        raise Fault("Unsupported", cursor.at - 1)
    color = cursor.number(1)
    if color // 16 > 2 or color % 16 > 14:
        raise Fault("Corrupt", cursor.at - 1)
    cursor.number(1)  # source format
    references = cursor.number(1)
    if references > 15:
        raise Fault("Corrupt", cursor.at - 1)
    crc_at = cursor.at
    if cursor.number(4) != zlib.crc32(cursor.data[:crc_at]):
        raise Fault("Corrupt", crc_at)
    return {
        "model_id": model_id,
        "geometry": geometry,
        "rungs": layout // 16 + 1,
        "references": references,
    }


def common(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a


def read_geometry(cursor: Bytes) -> tuple[int, int, int]:
    """Section 3.1: width, height, bit depth."""
    word = cursor.number(4)
    if word >> 28 < 7:
        raise Fault("Corrupt", cursor.at - 4)
    return (word >> 14) % 16384 + 1, word % 16384 + 1, (word >> 28) + 1


def read_unit(cursor: Bytes, sequence: dict[str, Any], model: Model) -> dict[str, Any]:
    """Section 5; the whole unit is there before anything in it is looked at."""
    start = cursor.at
    size = cursor.varint(1 << 28)
    body = cursor.inner(size)
    pts_at = body.at
    zigzag = body.varint(1 << 63)
    packets: list[dict[str, Any]] = []
    previous: dict[str, Any] | None = None
    while body.at < body.end:
        packet_at = body.at
        packet = read_packet(body)
        packets.append(packet)
        if packet["type"] in SLICES:
            if not fits(packet, previous, sequence):
                raise Fault("Corrupt", packet_at)
            previous = packet
    if previous is None:
        raise Fault("Corrupt", pts_at)
    pts = zigzag // 2 if zigzag % 2 == 0 else -(zigzag + 1) // 2
    seen = [decode_packet(packet, body.data, sequence, model) for packet in packets]
    unit = {"offset": start, "pts": pts, "packets": seen}
    if previous["type"] in SPATIAL and model.spatial is not None:
        unit["pixels"] = {"sha256": painted(packets, sequence, model)}
    return unit


def painted(packets: list[dict[str, Any]], sequence: dict[str, Any], model: Model) -> str:
    """Section 9.6: the hash of a spatial frame's picture, without what is not there."""
    slices = [packet for packet in packets if packet["type"] in SLICES]
    rows, columns = size_of(slices[0], sequence)
    symbols = np.zeros((394, 4 * rows, 4 * columns), np.int64)
    for packet in slices:
        of_tiles = np.array(packet.get("symbols", [])).reshape(-1, 394, 4, 4)
        for tile, own in zip(tiles_of(packet, rows, columns), of_tiles, strict=False):
            row, column = 4 * (tile // columns), 4 * (tile % columns)
            symbols[:, row : row + 4, column : column + 4] = own
    qp, t = slices[0]["qp"], model.tensors
    refinement = {name: t[f"refine.spatial.{name}"] for name in ("luma", "chroma")}
    refinement["steps"] = t["delta.steps"][qp]
    across_tiles = slices[0]["type"] != 3
    ways = {
        "across_tiles": across_tiles,
        "from_luma": model.from_luma,
        "copies": slices[0].get("copies", {}),
    }
    planes = spec_spatial.paint(symbols, t["spatial.steps"][qp], refinement, qp, **ways)
    described = slices[0]["described"]
    width, height, _ = described[1] if described else sequence["geometry"]
    digest = hashlib.sha256()
    for plane, half in zip(planes, (1, 2, 2), strict=True):
        shown = plane[: -(-height // half), : -(-width // half)]
        digest.update(((shown + 8) >> 4).astype(np.uint8).tobytes())
    return digest.hexdigest()


def read_packet(cursor: Bytes) -> dict[str, Any]:
    """Sections 4.1 and 4.2."""
    start = cursor.at
    first = cursor.number(1)
    if first >> 5 != 1:
        raise Fault("Unsupported", start)
    body = cursor.inner(cursor.varint(1 << 24))
    packet: dict[str, Any] = {"offset": start, "type": first % 32, "body": (body.at, body.end)}
    if packet["type"] not in SLICES:
        return packet
    flags_at = body.at
    flags = body.number(1)
    alone = packet["type"] in SPATIAL or flags & 1
    if (alone and flags & 4) or flags & 0xC0 == 0x80 or (packet["type"] in (4, 5) and flags & 64):
        raise Fault("Corrupt", flags_at)
    lanes_qp = body.number(1)
    packet |= {
        "keyframe": flags & 1,
        "last": flags >> 1 & 1,
        "order": flags >> 7,
        "lanes": 1 << (lanes_qp >> 6),
        "qp": lanes_qp % 64,
        "frame_number": body.number(2),
        "check_at": body.at,
        "check": body.number(2),
        "reference": None,
        "store": None,
        "layer": 0,
        "described": None,
        "tiles": None,
    }
    for flag, name in ((4, "reference"), (8, "store"), (16, "layer")):
        if flags & flag:
            packet[name] = value = body.number(1)
            if (name == "layer" and value == 0) or (name != "layer" and value % 16 == 15):
                raise Fault("Corrupt", body.at - 1)
    if flags & 32:
        packet["described"] = (body.take(2), read_geometry(body))
    if flags & 64:
        begin = body.varint(65536)
        packet["tiles"] = (begin, body.varint(65536 - begin) + 1)
    packet["payload"] = (body.at, body.end)
    return packet


FRAME = (
    "type", "frame_number", "qp", "keyframe", "reference", "store", "layer", "described", "order"
)  # fmt: skip


def size_of(packet: dict[str, Any], sequence: dict[str, Any]) -> tuple[int, int]:
    """Rows and columns of tiles."""
    described = packet["described"]
    width, height, _ = described[1] if described else sequence["geometry"]
    return (height + 63) // 64, (width + 63) // 64


def fits(packet: dict[str, Any], previous: dict[str, Any] | None, sequence: dict[str, Any]) -> bool:
    """Sections 4.2 and 5.1."""
    rows, columns = size_of(packet, sequence)
    described, tiles = packet["described"], packet["tiles"]
    rung = packet["layer"] // 16
    slots = [packet[name] % 16 for name in ("reference", "store") if packet[name] is not None]
    if rung >= sequence["rungs"] or any(slot >= sequence["references"] for slot in slots):
        return False
    if described and described[0] != sequence["model_id"][:2]:
        return False
    if described and rung == 0 and described[1] != sequence["geometry"]:
        return False
    if tiles and sum(tiles) > rows * columns:
        return False
    if previous is None:
        return True
    if previous["last"] or not tiles or not previous["tiles"]:
        return False
    return tiles[0] >= sum(previous["tiles"]) and all(packet[n] == previous[n] for n in FRAME)


def tiles_of(packet: dict[str, Any], rows: int, columns: int) -> list[int]:
    """Section 2.2."""
    order = list(range(rows * columns))
    if packet["order"]:
        phases = ((0, 0), (1, 1), (0, 1), (1, 0))
        order = [
            tile
            for phase in phases
            for tile in order
            if (tile // columns % 2, tile % columns % 2) == phase
        ]
    first, count = packet["tiles"] or (0, rows * columns)
    return sorted(order[first : first + count])


def decode_packet(
    packet: dict[str, Any], data: bytes, sequence: dict[str, Any], model: Model
) -> dict[str, Any]:
    """Sections 4.5 and 7: hashes of what is coded, or what is wrong with it."""
    if packet["type"] not in SLICES:
        start, end = packet["body"]
        digest = hashlib.sha256(data[start:end]).hexdigest()
        return {"offset": packet["offset"], "type": packet["type"], "body_sha256": digest}
    report = {
        "offset": packet["offset"],
        "type": packet["type"],
        "check": f"{packet['check']:#06x}",
    }
    count = len(tiles_of(packet, *size_of(packet, sequence)))
    try:
        part = model.part_for(packet)
        if part is model.delta:
            count = read_map(packet, data, count)
            report["coded_tiles"] = count
        copies = None
        if packet["type"] == 5:
            copies = read_copies(packet, data, size_of(packet, sequence))
        z, symbols = decode_payload(packet, data, count, part)
        header = bytearray(data[packet["offset"] : packet["payload"][0]])
        at = packet["check_at"] - packet["offset"]
        header[at : at + 2] = bytes(2)
        z_bytes, y_bytes = struct.pack(f"{len(z)}b", *z), struct.pack(f"<{len(symbols)}h", *symbols)
        if zlib.crc32(bytes(header) + z_bytes + y_bytes) % 65536 != packet["check"]:
            raise Fault("Corrupt", packet["check_at"])
        packet["symbols"] = symbols
        if copies is not None:
            packet["copies"] = copies
    except Fault as fault:
        return report | {"error": {"kind": fault.kind, "offset": fault.offset}}
    return report | {
        "z_sha256": hashlib.sha256(z_bytes).hexdigest(),
        "symbols_sha256": hashlib.sha256(y_bytes).hexdigest(),
    }


def read_map(packet: dict[str, Any], data: bytes, n_tiles: int) -> int:
    """Section 4.7: how many tiles are coded; the payload is what follows the map."""
    start, end = packet["payload"]
    size = (n_tiles + 7) // 8
    if end - start < size:
        raise Fault("Truncated", end)
    still_map = data[start : start + size]
    bits = "".join(f"{byte:08b}" for byte in still_map)
    if "1" in bits[n_tiles:]:
        raise Fault("Corrupt", start + size - 1)
    count = bits.count("1")
    if count == 0 and end - start > size:
        raise Fault("Corrupt", start + size)
    packet["payload"] = (start + size, end)
    return count


def read_copies(packet: dict[str, Any], data: bytes, size: tuple[int, int]) -> Copies:
    """Sections 4.8 and 9.7; the payload is what follows."""
    payload = Bytes(data, *packet["payload"])
    n_bytes = payload.varint(1 << 24)
    payload.take(n_bytes)
    lane = Lanes(data, payload.at - n_bytes, payload.at, 1)
    copies = spec_copies.read(lane, 8 * size[0], 8 * size[1])
    lane.finish()
    packet["payload"] = (payload.at, packet["payload"][1])
    return copies


def decode_payload(
    packet: dict[str, Any], data: bytes, n_tiles: int, model: Model
) -> tuple[list[int], list[int]]:
    """Section 7."""
    qp = packet["qp"]
    start, end = packet["payload"]
    if not n_tiles:
        return [], []
    lanes = Lanes(data, start, end, packet["lanes"])
    tables = model.tensors["z_cdf"][qp]
    z = [lanes.symbol(table) - 15 for _ in range(n_tiles) for table in tables]
    symbols = []
    known: dict[tuple[int, ...], list[int]] = {}
    for tile in range(n_tiles):
        own = tuple(z[tile * model.hyper_channels : (tile + 1) * model.hyper_channels])
        indices = known.setdefault(own, []) or model.indices(list(own), qp)
        known[own] = indices
        read: list[int] = []
        energies: Known = {}
        for index in indices:
            if "contexts" in model.tensors:
                rows = len(model.tensors["y_cdf"])
                index = table_of(index, read, model.tensors["contexts"], energies, rows)
            read.append(decode_latent(lanes, model.tensors["y_cdf"][index]) if index else 0)
        symbols += read
    lanes.finish()
    return z, symbols


def decode_latent(lanes: Lanes, cdf: list[int]) -> int:
    """One latent of a table: -R..R, or an escape."""
    radius = (cdf.index(1 << 14) - 2) // 2
    symbol = lanes.symbol(cdf)
    if symbol <= 2 * radius:
        return symbol - radius
    head = lanes.raw(5)
    magnitude = radius + (1 << head % 16) + lanes.raw(head % 16)
    if magnitude > 32767:
        raise Fault("Corrupt", lanes.at)
    return -magnitude if head >= 16 else magnitude
