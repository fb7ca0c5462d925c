"""
The entropy coder and the scale network in C, through ctypes.

The same functions, classes and errors as the reference (`rans`, `tile`,
`ScaleNet.indices_reference`), and the same results bit for bit. The GIL is
released while C runs. Only this module may call the library, and it checks
every argument before it does.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.build import LIBRARY
from rtcodec.entropy.cdf import QP_COUNT, SCALE_COUNT, SYMBOL_MAX, EntropyTables
from rtcodec.entropy.library import Signatures, load_library
from rtcodec.entropy.rans import (
    LANES,
    check_arguments,
    check_channels,
    check_hyper_latents,
    check_indices,
    check_symbols_form,
)
from rtcodec.entropy.scale_net import Layer, ScaleNet
from rtcodec.entropy.tile import Latent, check_plane, check_values, empty_plane
from rtcodec.errors import Corrupt, LocalProtocolError, Truncated
from rtcodec.types import COPY_CHANNELS

LIBRARY_VERSION = 5
"What rtc_version of a library built from this source returns."

_Number = TypeVar("_Number", bound=np.generic)
_PTR = ctypes.c_void_p
_U32 = ctypes.c_uint32
_SIGNATURES: Signatures = {
    "rtc_version": (_U32, ()),
    "rtc_tables_size": (ctypes.c_size_t, (_U32,)),
    "rtc_tables_build": (None, (_PTR, _PTR, _U32, _U32, _PTR, _U32, _PTR)),
    "rtc_context_indices": (None, (_PTR, _PTR, _PTR, _U32, _PTR)),
    "rtc_decode_begin": (ctypes.c_int32, (_PTR, ctypes.c_char_p, _U32, _U32)),
    "rtc_decode_z": (ctypes.c_int32, (_PTR, _PTR, _U32, _PTR, _U32)),
    "rtc_decode_y": (ctypes.c_int32, (_PTR, _PTR, _PTR, _U32, _PTR)),
    "rtc_encode_list": (None, (_PTR, _PTR, _PTR, _U32, _PTR, _PTR)),
    "rtc_tile_costs": (None, (_PTR, _PTR, _PTR, _PTR, _U32, _U32, _PTR)),
    "rtc_encode": (_U32, (_PTR, _U32, _PTR, _U32, _PTR, _U32, _U32, _PTR, _U32)),
    "rtc_gather": (None, (_PTR, _PTR, _PTR, _PTR, _U32, _U32, _U32, _U32)),
    "rtc_scatter": (None, (_PTR, _PTR, _PTR, _PTR, _U32, _U32, _U32, _U32)),
    "rtc_scale_scratch": (ctypes.c_size_t, (_PTR,)),
    "rtc_copies_decode": (ctypes.c_int32, (ctypes.c_char_p, _U32, _U32, _U32, _U32, _PTR, _PTR)),
    "rtc_copies_encode": (_U32, (_PTR, _U32, _U32, _PTR, _PTR, _U32)),
    "rtc_scale_indices": (None, (_PTR, _PTR, _U32, _PTR, _PTR)),
}


class _Decoder(ctypes.Structure):
    """`rtc_decoder`."""

    _fields_ = (
        ("payload", _PTR),
        ("size", _U32),
        ("position", _U32),
        ("lanes", _U32),
        ("next", _U32),
        ("state", _U32 * 8),
    )
    position: int
    state: ctypes.Array[_U32]


class _Census(ctypes.Structure):
    """`rtc_census`."""

    _fields_ = (("n_coded", _U32), ("n_escaped", _U32), ("misplaced", _U32))
    n_coded: int
    n_escaped: int
    misplaced: int


class _ScaleNet(ctypes.Structure):
    """`rtc_scale_net`."""

    _fields_ = (
        ("weight", _PTR * 3),
        ("narrow", _PTR * 3),
        ("bias", _PTR * 3),
        ("rows", _U32 * 3),
        ("inputs", _U32 * 3),
        ("shift", _U32 * 3),
        ("hyper_channels", _U32),
        ("hidden", _U32 * 2),
        ("latent_channels", _U32),
    )


@cache
def _library() -> ctypes.CDLL:
    return load_library(LIBRARY, _SIGNATURES, LIBRARY_VERSION)


# ---- slices -------------------------------------------------------------------------------


def encode_slice(
    tables: EntropyTables,
    z: NDArray[np.int8],
    symbols: NDArray[np.int16],
    indices: NDArray[np.uint8],
    qp: int,
    lanes: int,
) -> bytes:
    """Code some tiles into one payload: `rans.encode_slice`, fast."""
    return SliceEncoder(tables, z, symbols, indices, qp).encode(0, len(z), lanes)


class SliceEncoder:
    """Codes runs of tiles into payloads; for many of them checked once, not each."""

    def __init__(
        self,
        tables: EntropyTables,
        z: NDArray[np.int8],
        symbols: NDArray[np.int16],
        indices: NDArray[np.uint8],
        qp: int,
        *,
        moved: bool = False,
    ) -> None:
        """
        Args:
            tables: Of the model.
            z: int8 [T, Cz], magnitudes up to 15.
            symbols: int16 [T, M, 16], 0 where the index is 0.
            indices: uint8 [T, M, 16], 0 to 63.
            qp: 0 to 63.
            moved: Whether *indices* come from `context_indices`.

        Raises:
            ValueError: If an array has another form or a value out of range.
        """
        check_arguments(tables, z.shape[0], qp, 1)
        check_hyper_latents(tables, z)
        check_indices(indices, z.shape[0], len(tables.y_cdf) if moved else SCALE_COUNT)
        check_channels(tables, indices)
        check_symbols_form(symbols, indices)
        if not moved:
            indices = context_indices(tables, indices, symbols)
        self._hold(tables, qp, z, symbols, indices)

    def _hold(
        self,
        tables: EntropyTables,
        qp: int,
        z: NDArray[np.int8],
        symbols: NDArray[np.int16],
        indices: NDArray[np.uint8],
    ) -> None:
        self.tables = tables
        "Of the model."
        self.qp = qp
        "Of all tiles."
        # C reads all of these as long as this lives.
        self._arrays = (
            np.ascontiguousarray(z),
            np.ascontiguousarray(symbols),
            np.ascontiguousarray(indices),
        )
        self._blob = _tables_blob(tables)
        self._at = tuple(_at(array) for array in (self._blob, *self._arrays))

    def __len__(self) -> int:
        """Return how many tiles there are."""
        return len(self._arrays[0])

    def picked(self, rows: NDArray[np.int64]) -> SliceEncoder:
        """Return a coder of the tiles at *rows* [R], in that order, which is not checked again."""
        other = object.__new__(SliceEncoder)
        z, symbols, indices = self._arrays
        other._hold(self.tables, self.qp, z[rows], symbols[rows], indices[rows])
        return other

    def coded(self, first: int, count: int) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
        """Return the hyper-latents and symbols of *count* tiles from *first* on, as views."""
        z, symbols, _ = self._arrays
        return z[first : first + count], symbols[first : first + count]

    def costs(self, costs: NDArray[np.uint16]) -> NDArray[np.uint32]:
        """Return what the latents of each tile cost: `tile_costs`."""
        _, symbols, indices = self._arrays
        return _tile_costs(self.tables, costs, symbols, indices)

    def encode(self, first: int, count: int, lanes: int) -> bytes:
        """
        Code *count* tiles from *first* on into one payload: `rans.encode_slice`.

        Raises:
            ValueError: If there are no such tiles or lanes, or a skipped symbol is not 0.
        """
        z, _, indices = self._arrays
        if first < 0 or count < 0 or first + count > len(z):
            raise ValueError(f"no {count} tiles from {first} in {len(z)}")
        if lanes not in LANES:
            raise ValueError(f"{lanes} lanes are not one of {LANES}")
        library = _library()
        blob, at_z, at_symbols, at_indices = self._at
        per_tile = indices.shape[1] * 16
        start, latents = first * per_tile, count * per_tile
        listed = np.empty(latents, np.uint32)
        at_list = _at(listed)
        census = _Census()
        library.rtc_encode_list(
            blob, at_indices + start, at_symbols + 2 * start, latents, at_list,
            ctypes.addressof(census),
        )  # fmt: skip
        if census.misplaced:
            raise ValueError("a skipped symbol is not 0")
        channels = z.shape[1]
        capacity = 4 * lanes + 2 * (count * channels + census.n_coded + 2 * census.n_escaped)
        buffer = np.empty(capacity, np.uint8)
        size = library.rtc_encode(
            blob, self.qp, at_z + first * channels, count, at_list, census.n_coded, lanes,
            _at(buffer), capacity,
        )  # fmt: skip
        return buffer[capacity - size :].tobytes()


def context_indices(
    tables: EntropyTables, indices: NDArray[np.uint8], symbols: NDArray[np.int16]
) -> NDArray[np.uint8]:
    """
    Return the indices that choose tables: `contexts.adjusted`, fast; without contexts *indices*.

    Args:
        tables: Of the model.
        indices: uint8 [T, 394, 16], 0..63, of the scale network.
        symbols: int16 [T, 394, 16].

    Raises:
        ValueError: If an array has another form.
    """
    if tables.contexts is None:
        return indices
    check_indices(indices, indices.shape[0])
    check_channels(tables, indices)
    check_symbols_form(symbols, indices)
    indices, symbols = np.ascontiguousarray(indices), np.ascontiguousarray(symbols)
    moved = np.empty_like(indices)
    blob = _tables_blob(tables)  # a name holds it while C reads it
    _library().rtc_context_indices(
        _at(blob), _at(indices), _at(symbols), indices.shape[0], _at(moved)
    )
    return moved


def tile_costs(
    tables: EntropyTables,
    costs: NDArray[np.uint16],
    symbols: NDArray[np.int16],
    indices: NDArray[np.uint8],
    *,
    moved: bool = False,
) -> NDArray[np.uint32]:
    """
    Add up what the latents of each tile cost, without coding them.

    Args:
        tables: Of the model.
        costs: uint16 [64 or 96, 256], 1/256 bit: of the symbols -R..R, then the escape, of each
            table; row 0 is all zero.
        symbols: int16 [T, M, 16], 0 where the index is 0.
        indices: uint8 [T, M, 16], 0..63.
        moved: Whether *indices* come from `context_indices`.

    Returns:
        uint32 [T], in 1/256 bit, the raw bits of escapes included.
    """
    check_indices(indices, indices.shape[0], len(tables.y_cdf) if moved else SCALE_COUNT)
    check_channels(tables, indices)
    check_symbols_form(symbols, indices)
    symbols = np.ascontiguousarray(symbols)
    if not moved:
        indices = context_indices(tables, indices, symbols)
    return _tile_costs(tables, costs, symbols, np.ascontiguousarray(indices))


def _tile_costs(
    tables: EntropyTables,
    costs: NDArray[np.uint16],
    symbols: NDArray[np.int16],
    indices: NDArray[np.uint8],
) -> NDArray[np.uint32]:
    """Do `tile_costs` for contiguous arrays that were checked, *indices* moved."""
    if costs.dtype != np.uint16 or costs.shape != (len(tables.y_cdf), 256):
        raise ValueError(f"{costs.dtype} {costs.shape} are not costs of {len(tables.y_cdf)} tables")
    costs = np.ascontiguousarray(costs)
    totals = np.empty(indices.shape[0], np.uint32)
    blob = _tables_blob(tables)  # a name holds it while C reads it
    _library().rtc_tile_costs(
        _at(blob), _at(costs), _at(indices), _at(symbols),
        indices.shape[0], indices.shape[1] * 16, _at(totals),
    )  # fmt: skip
    return totals


class SliceDecoder:
    """Reads the symbols of one payload: `rans.SliceDecoder`, fast."""

    def __init__(
        self, tables: EntropyTables, payload: bytes, n_tiles: int, qp: int, lanes: int
    ) -> None:
        check_arguments(tables, n_tiles, qp, lanes)
        self._tables = tables
        self._shape = (n_tiles, tables.hyper_channels)
        self._qp = qp
        self._payload = bytes(payload)  # C keeps its address
        self._blob = _tables_blob(tables)
        self._decoder = _Decoder()
        self._at = ctypes.addressof(self._decoder)
        self._steps = 0
        self._check(_library().rtc_decode_begin(self._at, self._payload, len(self._payload), lanes))

    def read_z(self) -> NDArray[np.int8]:
        """Read the hyper-latents: `rans.SliceDecoder.read_z`."""
        self._begin_step(0)
        z = np.empty(self._shape, np.int8)
        self._check(
            _library().rtc_decode_z(self._at, _at(self._blob), self._qp, _at(z), self._shape[0])
        )
        return z

    def read_y(
        self, indices: NDArray[np.uint8], out: NDArray[np.int16] | None = None
    ) -> NDArray[np.int16]:
        """
        Read the latents and check the end: `rans.SliceDecoder.read_y`.

        Args:
            indices: uint8 [T, M, 16], 0 to 63.
            out: Where to put the latents, contiguous int16 [T, M, 16]; filled with anything where
                an error is raised.
        """
        check_indices(indices, self._shape[0])
        check_channels(self._tables, indices)
        self._begin_step(1)
        indices = np.ascontiguousarray(indices)
        symbols = np.empty(indices.shape, np.int16) if out is None else out
        if symbols.dtype != np.int16 or symbols.shape != indices.shape:
            raise ValueError(f"{symbols.dtype} {symbols.shape} cannot take the latents")
        if not (symbols.flags.c_contiguous and symbols.flags.writeable):
            raise ValueError("the array for the latents is not contiguous or not writeable")
        self._check(
            _library().rtc_decode_y(
                self._at, _at(self._blob), _at(indices), indices.size, _at(symbols)
            )
        )
        return symbols

    def _begin_step(self, step: int) -> None:
        if self._steps != step:
            raise LocalProtocolError("a slice is read once: read_z, then read_y")
        self._steps += 1

    def _check(self, status: int) -> None:
        """Turn a status of C into the reference's error."""
        _check_status(status, at=self._decoder.position, size=len(self._payload))


def _check_status(status: int, *, at: int, size: int) -> None:
    if not status:
        return
    if status == 1:
        raise Truncated("the payload ends inside a symbol or a lane state", offset=size)
    raise Corrupt(
        {
            2: "a lane state is below 2**16",
            3: f"an escaped symbol is beyond +-{SYMBOL_MAX}",
            4: f"{size - at} bytes after the last symbol",
            5: "a lane does not end in 2**16",
        }[status],
        offset=at,
    )


# ---- copies -------------------------------------------------------------------------------

_ITEMS_MAX = 16  # of a quarter


def read_copies(payload: bytes, rows: int, columns: int) -> NDArray[np.int16]:
    """Read which parts are copies: `copies.read_copies`."""
    found = np.empty((rows, columns, COPY_CHANNELS), np.int16)
    position = _U32()
    status = _library().rtc_copies_decode(
        payload, len(payload), rows, columns, COPY_CHANNELS, _at(found), ctypes.addressof(position)
    )
    _check_status(status, at=position.value, size=len(payload))
    return found


def write_copies(copies: NDArray[np.int16]) -> bytes:
    """Return what says which parts are copies: `copies.write_copies`."""
    rows, columns, size = copies.shape
    if size != COPY_CHANNELS or copies.dtype != np.int16 or copies.min() < -SYMBOL_MAX:
        raise ValueError(f"{copies.dtype} {copies.shape} are no copies")
    if (copies[..., ::2] < 0).any():
        raise ValueError("a copy of what is below")
    copies = copies.copy()  # which C writes as it reads
    n_quarters = 4 * rows * columns
    items = np.empty(_ITEMS_MAX * n_quarters, np.uint32)
    buffer = np.empty(4 + 2 * items.size, np.uint8)
    n_bytes = _library().rtc_copies_encode(
        _at(copies), rows, columns, _at(items), _at(buffer), buffer.size
    )
    return buffer[buffer.size - n_bytes :].tobytes()


_blobs: WeakKeyDictionary[EntropyTables, NDArray[np.uint64]] = WeakKeyDictionary()


def _tables_blob(tables: EntropyTables) -> NDArray[np.uint64]:
    """Return `rtc_tables` of *tables*, built once and kept as long as they are."""
    blob = _blobs.get(tables)
    if blob is None:
        library, channels = _library(), tables.hyper_channels
        blob = np.empty(-(-library.rtc_tables_size(channels) // 8), np.uint64)
        contexts = None if tables.contexts is None else _at(tables.contexts)
        library.rtc_tables_build(
            _at(blob), _at(tables.y_cdf), *tables.y_cdf.shape, _at(tables.z_cdf), channels,
            contexts,
        )  # fmt: skip
        # Two threads may both build one: all use, and so keep alive, the first that is stored.
        blob = _blobs.setdefault(tables, blob)
    return blob


# ---- tiles --------------------------------------------------------------------------------


def gather_tiles(plane: NDArray[Latent], tiles: NDArray[np.uint32]) -> NDArray[Latent]:
    """Copy some tiles out of a frame: `tile.gather_tiles`, fast."""
    _, columns = check_plane(plane, tiles)
    tiles = np.ascontiguousarray(tiles)
    values = np.empty((tiles.size, plane.shape[0], 16), plane.dtype)
    _library().rtc_gather(
        _at(plane), _strides(plane), _at(values), _at(tiles), tiles.size, plane.shape[0],
        columns, plane.itemsize,
    )  # fmt: skip
    return values


def scatter_tiles(
    values: NDArray[Latent], tiles: NDArray[np.uint32], plane: NDArray[Latent]
) -> None:
    """Copy tiles into a frame, in place: `tile.scatter_tiles`, fast."""
    _, columns = check_plane(plane, tiles)
    check_values(values, tiles, plane)
    if not plane.flags.writeable:
        raise ValueError("the plane is read-only")
    tiles, values = np.ascontiguousarray(tiles), np.ascontiguousarray(values)
    _library().rtc_scatter(
        _at(plane), _strides(plane), _at(values), _at(tiles), tiles.size, plane.shape[0],
        columns, plane.itemsize,
    )  # fmt: skip


# ---- the scale network --------------------------------------------------------------------


def tile_indices(net: ScaleNet, z: NDArray[np.int8], qp: int) -> NDArray[np.uint8]:
    """
    Scale indices of some tiles, in coding order.

    Args:
        net: Of the model.
        z: int8 [T, Cz], magnitudes up to 15.
        qp: 0..63.

    Returns:
        uint8 [T, M, 16]: what `ScaleNet.indices` gives, tile by tile.
    """
    if z.ndim != 2:
        raise ValueError(f"z is {z.dtype} {z.shape}, not int8 [T, {net.hyper_channels}]")
    net.check_input(z.T[:, :, None], qp)
    packed = _packed_net(net)
    z = np.ascontiguousarray(z)
    indices = np.empty((z.shape[0], net.latent_channels, 16), np.uint8)
    scratch = np.empty(packed.scratch_size // 2 + 1, np.int16)
    _library().rtc_scale_indices(
        ctypes.addressof(packed.structs[qp]), _at(z), z.shape[0], _at(indices), _at(scratch)
    )
    return net.with_always_coded(indices, axis=1)


def scale_indices(net: ScaleNet, z: NDArray[np.int8], qp: int) -> NDArray[np.uint8]:
    """Scale indices of a whole frame: `ScaleNet.indices`, fast."""
    net.check_input(z, qp)
    rows, columns = z.shape[1:]
    tiles = np.arange(rows * columns, dtype=np.uint32)
    indices = empty_plane(net.latent_channels, 4 * rows, 4 * columns, np.uint8)
    scatter_tiles(tile_indices(net, z.reshape(z.shape[0], -1).T, qp), tiles, indices)
    return indices


class _PackedNet:
    """A scale network as C wants it: padded, and one struct per qp."""

    def __init__(self, net: ScaleNet) -> None:
        layers = [net.layers(qp) for qp in range(QP_COUNT)]
        self._weights = [_padded(w, 8, 2).astype(np.int16) for w, _, _, _ in layers[0]]
        self._narrow = [_padded(w, 8, 4) for w, _, _, _ in layers[0]]
        self._biases: list[NDArray[np.int32]] = []  # C reads them through the structs
        self.structs = [self._struct(net, at_qp) for at_qp in layers]
        self.scratch_size: int = _library().rtc_scale_scratch(ctypes.addressof(self.structs[0]))

    def _struct(self, net: ScaleNet, layers: tuple[Layer, ...]) -> _ScaleNet:
        biases = [
            _padded((b + (1 << shift >> 1))[:, None], 8, 1).astype(np.int32)
            for _, b, shift, _ in layers
        ]
        self._biases += biases
        return _ScaleNet(
            weight=(_PTR * 3)(*map(_at, self._weights)),
            narrow=(_PTR * 3)(*map(_at, self._narrow)),
            bias=(_PTR * 3)(*map(_at, biases)),
            rows=(_U32 * 3)(*(w.shape[0] for w in self._weights)),
            inputs=(_U32 * 3)(*(w.shape[1] for w in self._weights)),
            shift=(_U32 * 3)(*(shift for _, _, shift, _ in layers)),
            hyper_channels=net.hyper_channels,
            hidden=(_U32 * 2)(net.w2.shape[1], net.w3.shape[1]),
            latent_channels=net.latent_channels,
        )


_packed: WeakKeyDictionary[ScaleNet, _PackedNet] = WeakKeyDictionary()


def _packed_net(net: ScaleNet) -> _PackedNet:
    packed = _packed.get(net)
    if packed is None:
        packed = _packed[net] = _PackedNet(net)
    return packed


def _padded(matrix: NDArray[_Number], rows: int, columns: int) -> NDArray[_Number]:
    """Pad with zeros to multiples of *rows* and *columns*."""
    return np.pad(matrix, ((0, -matrix.shape[0] % rows), (0, -matrix.shape[1] % columns)))


def _strides(plane: NDArray[Latent]) -> ctypes.Array[ctypes.c_ssize_t]:
    return (ctypes.c_ssize_t * 3)(*plane.strides)


def _at(array: NDArray[np.generic]) -> int:
    """Address of the first element of an array; `ctypes.data` takes twice as long to say it."""
    address: int = array.__array_interface__["data"][0]
    return address
